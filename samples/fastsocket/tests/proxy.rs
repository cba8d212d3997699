// SPDX-License-Identifier: GPL-2.0

//! The demo as a proxy.

mod common;

use common::{connect, exchange, read_response, Demo};
use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: demo\r\n\r\n";
/// More than all buffers on the way hold.
const BIG: usize = 24 << 20;

fn proxy(backends: &[SocketAddr]) -> Demo {
    let mut options = vec!["-w".into(), "1".into(), "-a".into(), "127.0.0.1:0".into()];
    for backend in backends {
        options.extend(["-x".into(), backend.to_string()]);
    }
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    Demo::start(&options)
}

/// A backend for one connection.
fn backend<T: Send + 'static>(
    serve: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (SocketAddr, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("an address");
    let thread = thread::spawn(move || serve(listener.accept().expect("a connection").0));
    (address, thread)
}

/// Bytes that show a loss or an exchange.
fn pattern(len: usize) -> Vec<u8> {
    let mut state = 1u32;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

#[test]
fn requests_reach_the_backends_in_turn() {
    let servers = [(); 2].map(|()| Demo::start(&["-w", "1", "-a", "127.0.0.1:0"]));
    let proxy = proxy(&[servers[0].address, servers[1].address]);
    for _ in 0..200 {
        let response = exchange(proxy.address, GET);
        assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
        assert!(response.ends_with(".\n"), "{response}");
    }
    for server in servers {
        let (_, output) = server.stop();
        let all = output
            .lines()
            .rfind(|line| line.contains(" all "))
            .expect("sums");
        assert_eq!(all.split_whitespace().nth(1), Some("100"), "{output}");
    }
}

#[test]
fn keep_alive_passes_through() {
    let server = Demo::start(&["-k", "-w", "1", "-a", "[::1]:0"]);
    let proxy = proxy(&[server.address]);
    let mut stream = BufReader::new(connect(proxy.address));
    for _ in 0..200 {
        stream.get_mut().write_all(GET).expect("sent");
        let (head, _) = read_response(&mut stream);
        assert!(head.contains("keep-alive"), "{head}");
    }
}

/// A slow reader: the proxy must wait, not keep or lose what it cannot pass on.
#[test]
fn big_body_to_a_slow_client() {
    let (address, thread) = backend(|mut stream| {
        stream.write_all(&pattern(BIG)).expect("sent");
    });
    let proxy = proxy(&[address]);
    let mut client = connect(proxy.address);
    thread::sleep(Duration::from_millis(300));
    assert!(!thread.is_finished(), "the proxy took all");
    let mut seen = Vec::new();
    client.read_to_end(&mut seen).expect("received");
    assert!(seen == pattern(BIG));
    thread.join().expect("a content backend");
}

/// Half-close: the backend sees the client's end, and answers after it.
#[test]
fn big_body_to_a_backend_that_answers_at_the_end() {
    let (address, thread) = backend(|mut stream| {
        thread::sleep(Duration::from_millis(300));
        let mut seen = Vec::new();
        stream.read_to_end(&mut seen).expect("received");
        stream.write_all(&seen[..1000]).expect("sent");
        seen
    });
    let proxy = proxy(&[address]);
    let mut client = connect(proxy.address);
    client.write_all(&pattern(BIG)).expect("sent");
    client.shutdown(Shutdown::Write).expect("shut down");
    let mut seen = Vec::new();
    client.read_to_end(&mut seen).expect("received");
    assert!(seen == pattern(1000));
    assert!(thread.join().expect("a content backend") == pattern(BIG));
}

/// Both directions at once, with an echo.
#[test]
fn echo() {
    let (address, _) = backend(|stream| {
        let mut writer = stream.try_clone().expect("a clone");
        std::io::copy(&mut &stream, &mut writer).expect("echoed");
    });
    let proxy = proxy(&[address]);
    let client = connect(proxy.address);
    let mut writer = client.try_clone().expect("a clone");
    let sender = thread::spawn(move || {
        writer.write_all(&pattern(BIG)).expect("sent");
        writer.shutdown(Shutdown::Write).expect("shut down");
    });
    let mut seen = Vec::new();
    (&client).read_to_end(&mut seen).expect("received");
    assert!(seen == pattern(BIG));
    sender.join().expect("all sent");
}

#[test]
fn unreachable_backend() {
    let nobody = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = nobody.local_addr().expect("an address");
    drop(nobody);
    let proxy = proxy(&[address]);
    for _ in 0..20 {
        let response = exchange(proxy.address, GET);
        assert!(response.starts_with("HTTP/1.1 502 "), "{response}");
    }
    let (_, output) = proxy.stop();
    let all = output
        .lines()
        .rfind(|line| line.contains(" all "))
        .expect("sums");
    assert_eq!(all.split_whitespace().nth(5), Some("20"), "{output}");
}

/// A backend that breaks off must not look like one that has said all.
#[test]
fn reset_is_passed_on() {
    let (address, thread) = backend(|mut stream| {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\n\r\nhalf of it")
            .expect("sent");
        // To leave something unread makes the close a reset.
        stream.peek(&mut [0]).expect("something");
    });
    let proxy = proxy(&[address]);
    let mut client = connect(proxy.address);
    client.write_all(GET).expect("sent");
    let result = client.read_to_end(&mut Vec::new());
    thread.join().expect("a content backend");
    assert_eq!(
        result.expect_err("a reset").kind(),
        ErrorKind::ConnectionReset
    );
}
