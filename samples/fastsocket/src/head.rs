// SPDX-License-Identifier: GPL-2.0

//! The head of an HTTP/1 request: just enough to know where it ends, where
//! its body ends and whether the connection may stay open.

/// A longer head is refused.
pub(crate) const MAX_LEN: usize = 8 * 1024;

/// What the beginning of some bytes is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// The beginning of a head, as far as can be seen.
    Partial,
    /// No request.
    Bad,
    /// A head.
    Whole(Head),
}

/// A request's head.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Its length in bytes, with the empty line.
    pub(crate) len: usize,
    /// The client would send another request on this connection.
    pub(crate) keep_alive: bool,
    /// The response has no body.
    pub(crate) is_head: bool,
    /// The body's length; `None` if only reading it can tell, or if the
    /// client may decide not to send it.
    pub(crate) body: Option<u64>,
}

/// Looks at the bytes that a connection, or the end of its last request,
/// begins with.
pub(crate) fn parse(bytes: &[u8]) -> Parsed {
    // Empty lines before a request are to be ignored.
    let start = bytes
        .iter()
        .position(|byte| !matches!(byte, b'\r' | b'\n'))
        .unwrap_or(bytes.len());
    let request = &bytes[start..];
    match request.first() {
        None => return Parsed::Partial,
        Some(&byte) if !is_token(byte) => return Parsed::Bad,
        Some(_) => (),
    }
    let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Parsed::Partial;
    };
    let mut lines = request[..end]
        .split(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let mut head = Head {
        len: start + end + 4,
        keep_alive: false,
        is_head: false,
        body: Some(0),
    };
    let understood = lines
        .next()
        .and_then(|line| request_line(line, &mut head))
        .and_then(|()| lines.try_for_each(|line| field(line, &mut head)));
    match understood {
        Some(()) => Parsed::Whole(head),
        None => Parsed::Bad,
    }
}

/// `GET /target HTTP/1.1`
fn request_line(line: &[u8], head: &mut Head) -> Option<()> {
    let mut words = line.split(|&byte| byte == b' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    if words.next().is_some() || target.is_empty() || !method.iter().all(|&byte| is_token(byte)) {
        return None;
    }
    head.is_head = method == b"HEAD";
    head.keep_alive = match version.strip_prefix(b"HTTP/1.")? {
        b"0" => false,
        [digit] if digit.is_ascii_digit() => true,
        _ => return None,
    };
    Some(())
}

/// `Name: value`
fn field(line: &[u8], head: &mut Head) -> Option<()> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    if name.is_empty() || !name.iter().all(|&byte| is_token(byte)) {
        return None;
    }
    if name.eq_ignore_ascii_case(b"connection") {
        for word in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            if word.eq_ignore_ascii_case(b"close") {
                head.keep_alive = false;
                break;
            } else if word.eq_ignore_ascii_case(b"keep-alive") {
                head.keep_alive = true;
            }
        }
    } else if name.eq_ignore_ascii_case(b"content-length") {
        let len = decimal(value)?;
        match head.body {
            Some(known) if known != 0 && known != len => return None,
            Some(_) => head.body = Some(len),
            None => (),
        }
    } else if name.eq_ignore_ascii_case(b"transfer-encoding")
        || name.eq_ignore_ascii_case(b"expect")
    {
        head.body = None;
    }
    Some(())
}

fn decimal(text: &[u8]) -> Option<u64> {
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A character of methods and field names.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> Head {
        match parse(text.as_bytes()) {
            Parsed::Whole(head) => head,
            other => panic!("{text:?} is {other:?}"),
        }
    }

    #[test]
    fn length_of_a_pipelined_head() {
        let one = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(whole(one).len, one.len());
        assert_eq!(whole(&one.repeat(3)).len, one.len());
        assert_eq!(whole(&format!("\r\n{one}")).len, one.len() + 2);
    }

    #[test]
    fn every_beginning_is_partial() {
        let text = "\r\nPOST /a HTTP/1.1\r\nHost: b\r\nContent-Length: 3\r\n\r\n";
        for len in 0..text.len() {
            assert_eq!(parse(&text.as_bytes()[..len]), Parsed::Partial, "{len}");
        }
        assert_eq!(whole(text).body, Some(3));
    }

    #[test]
    fn keep_alive() {
        for (expected, version, fields) in [
            (true, "1.1", ""),
            (true, "1.9", ""),
            (false, "1.0", ""),
            (true, "1.0", "Connection: keep-alive\r\n"),
            (true, "1.0", "connection:Keep-Alive\r\n"),
            (false, "1.1", "Connection: close\r\n"),
            (false, "1.1", "CONNECTION: upgrade , Close\r\n"),
            (false, "1.1", "Connection: close, keep-alive\r\n"),
        ] {
            let text = format!("GET / HTTP/{version}\r\n{fields}\r\n");
            assert_eq!(whole(&text).keep_alive, expected, "{text}");
        }
    }

    #[test]
    fn bodies() {
        for (expected, fields) in [
            (Some(0), ""),
            (Some(18), "Content-Length: 18\r\n"),
            (Some(18), "Content-Length: 18\r\nContent-Length: 18\r\n"),
            (None, "Transfer-Encoding: chunked\r\n"),
            (None, "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n"),
            (None, "Content-Length: 4\r\nExpect: 100-continue\r\n"),
        ] {
            let text = format!("PUT /x HTTP/1.1\r\n{fields}\r\n");
            assert_eq!(whole(&text).body, expected, "{text}");
        }
        assert!(whole("HEAD / HTTP/1.0\r\n\r\n").is_head);
    }

    #[test]
    fn bad() {
        for text in [
            "\x16\x03\x01",
            " GET / HTTP/1.1",
            "GET /\r\n\r\n",
            "GET  / HTTP/1.1\r\n\r\n",
            "GET / HTTP/2.0\r\n\r\n",
            "GET / HTTP/1.10\r\n\r\n",
            "G\0T / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nno colon\r\n\r\n",
            "GET / HTTP/1.1\r\n: no name\r\n\r\n",
            "GET / HTTP/1.1\r\n folded: x\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length:\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        ] {
            assert_eq!(parse(text.as_bytes()), Parsed::Bad, "{text:?}");
        }
    }
}
