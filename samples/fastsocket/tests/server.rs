// SPDX-License-Identifier: GPL-2.0

//! The demo as a server.

mod common;

use common::{connect, eventually, exchange, read_response, signal, Demo};
use std::io::{BufReader, Read, Write};
use std::process::Command;
use std::thread;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: demo\r\n\r\n";

fn column(table: &str, index: usize) -> u64 {
    let all = table
        .lines()
        .rfind(|line| line.contains(" all "))
        .expect("sums");
    let words: Vec<_> = all.split_whitespace().collect();
    words[index + 1].parse().expect("a number")
}

#[test]
fn hundreds_of_connections() {
    let demo = Demo::start(&["-w", "2", "-a", "127.0.0.1:0"]);
    let address = demo.address;
    let clients: Vec<_> = (0..8)
        .map(|_| {
            thread::spawn(move || {
                for _ in 0..50 {
                    let response = exchange(address, GET);
                    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
                    assert!(response.contains("Connection: close\r\n"), "{response}");
                }
            })
        })
        .collect();
    for client in clients {
        client.join().expect("a client without failure");
    }
    let (status, output) = demo.stop();
    assert!(status.success());
    // accepted, open, requests, bad, 502, errors
    let sums: Vec<_> = (0..6).map(|index| column(&output, index)).collect();
    assert_eq!(sums, [400, 0, 400, 0, 0, 0], "{output}");
}

#[test]
fn keep_alive_and_pipelining() {
    let demo = Demo::start(&["-k", "-w", "1", "-a", "[::1]:0"]);
    let mut stream = BufReader::new(connect(demo.address));
    for _ in 0..300 {
        stream.get_mut().write_all(GET).expect("sent");
        let (head, body) = read_response(&mut stream);
        assert!(head.contains("Connection: keep-alive\r\n"), "{head}");
        assert_eq!(body.len(), 20);
    }
    // 2,000 at once, in pieces that respect no border.
    let requests = GET.repeat(2000);
    let mut writer = stream.get_ref().try_clone().expect("a clone");
    let sender = thread::spawn(move || {
        for piece in requests.chunks(997) {
            writer.write_all(piece).expect("sent");
        }
    });
    for _ in 0..2000 {
        read_response(&mut stream);
    }
    sender.join().expect("all sent");
    // A body is skipped; HEAD has none; the client ends it.
    let last = b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nGET /HEAD / HTTP/1.1\r\n\r\n\
        GET / HTTP/1.1\r\nConnection: close\r\n\r\n";
    stream.get_mut().write_all(last).expect("sent");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).expect("received");
    assert_eq!(rest.matches("HTTP/1.1 200 ").count(), 3, "{rest}");
    assert_eq!(rest.matches("Served").count(), 2, "{rest}");
    assert_eq!(rest.matches("Connection: close").count(), 1, "{rest}");
}

#[test]
fn http_1_0_closes_unless_asked() {
    let demo = Demo::start(&["-k", "-w", "1", "-a", "127.0.0.1:0"]);
    let response = exchange(demo.address, b"GET / HTTP/1.0\r\n\r\n");
    assert!(response.contains("Connection: close"), "{response}");
    let mut stream = BufReader::new(connect(demo.address));
    for _ in 0..3 {
        let request = b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n";
        stream.get_mut().write_all(request).expect("sent");
        let (head, _) = read_response(&mut stream);
        assert!(head.contains("Connection: keep-alive"), "{head}");
    }
}

/// What the server does not read must not reset the connection.
#[test]
fn no_reset_before_the_response() {
    let demo = Demo::start(&["-w", "1", "-a", "127.0.0.1:0"]);
    let upload = [
        b"POST / HTTP/1.1\r\nContent-Length: 300000\r\n\r\n".as_slice(),
        &[b'x'; 300_000],
    ];
    for request in [GET.repeat(1000), upload.concat()] {
        let response = exchange(demo.address, &request);
        assert_eq!(response.matches("HTTP/1.1 200 ").count(), 1, "{response}");
    }
}

#[test]
fn a_head_in_small_pieces() {
    let demo = Demo::start(&["-w", "1", "-a", "127.0.0.1:0"]);
    let mut stream = connect(demo.address);
    stream.set_nodelay(true).expect("set");
    for byte in GET.chunks(1) {
        stream.write_all(byte).expect("sent");
    }
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("received");
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
}

#[test]
fn refused() {
    let demo = Demo::start(&["-k", "-w", "1", "-a", "127.0.0.1:0"]);
    let response = exchange(demo.address, b"\x16\x03\x01\x02\x00");
    assert!(response.starts_with("HTTP/1.1 400 "), "{response}");
    let long = [b"GET / HTTP/1.1\r\nCookie: ".as_slice(), &[b'x'; 40_000]].concat();
    let response = exchange(demo.address, &long);
    assert!(response.starts_with("HTTP/1.1 431 "), "{response}");
    // One that says nothing is no error.
    drop(connect(demo.address));
    let (_, output) = demo.stop();
    assert_eq!(column(&output, 3), 2, "{output}");
}

#[test]
fn a_dead_worker_is_replaced() {
    let mut demo = Demo::start(&["-w", "1", "-a", "127.0.0.1:0"]);
    let line = demo.wait_for("worker 0 is process ");
    let pid = line
        .trim()
        .rsplit(' ')
        .next()
        .and_then(|pid| pid.parse().ok());
    signal(pid.expect("a process"), "KILL");
    demo.wait_for("was killed by signal 9");
    // Those who come meanwhile wait in the listener's queue.
    assert!(exchange(demo.address, GET).contains("200 OK"));
    demo.wait_for("worker 0 is process ");
}

#[test]
fn statistics_on_request() {
    let mut demo = Demo::start(&["-w", "2", "-c", "0", "-a", "127.0.0.1:0"]);
    if thread::available_parallelism().map_or(1, usize::from) < 2 {
        return;
    }
    exchange(demo.address, GET);
    eventually("the request is counted", || {
        demo.signal("USR1");
        let mut table = String::new();
        while !table.contains(" all ") {
            table += &demo.wait_for("");
        }
        column(&table, 2) == 1
    });
}

#[test]
fn shutdown_lets_requests_finish() {
    let demo = Demo::start(&["-k", "-w", "1", "-a", "127.0.0.1:0"]);
    let mut idle = connect(demo.address);
    let mut busy = connect(demo.address);
    idle.write_all(GET).expect("sent");
    read_response(&mut BufReader::new(&mut idle));
    busy.write_all(&GET[..10]).expect("sent");
    // Both are with the worker now: the second came after the first.
    exchange(demo.address, b"GET / HTTP/1.0\r\n\r\n");
    let finish = thread::spawn(move || {
        let mut rest = Vec::new();
        idle.read_to_end(&mut rest).expect("closed, not reset");
        assert!(rest.is_empty());
        busy.write_all(&GET[10..]).expect("sent");
        let mut response = String::new();
        busy.read_to_string(&mut response).expect("received");
        assert!(response.contains("Connection: close"), "{response}");
    });
    let (status, output) = demo.stop();
    finish.join().expect("both clients are content");
    assert!(status.success(), "{output}");
    assert_eq!(column(&output, 1), 0, "{output}");
}

#[test]
fn log_file() {
    let path = std::env::temp_dir().join(format!("fastsocket-demo-{}", std::process::id()));
    let taken = Demo::start(&["-w", "1", "-a", "127.0.0.1:0"]);
    let status = Command::new(env!("CARGO_BIN_EXE_fastsocket-demo"))
        .arg("-o")
        .arg(&path)
        .args(["-a", &taken.address.to_string()])
        .status()
        .expect("the demo starts");
    let text = std::fs::read_to_string(&path).expect("a log");
    let _ = std::fs::remove_file(&path);
    assert!(!status.success());
    assert!(text.contains("in use"), "{text}");
}

#[test]
fn a_cpu_that_does_not_exist() {
    let output = Command::new(env!("CARGO_BIN_EXE_fastsocket-demo"))
        .args(["-w", "1", "-c", "1000", "-a", "127.0.0.1:0"])
        .output()
        .expect("the demo starts");
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("CPU 1000"), "{text}");
}
