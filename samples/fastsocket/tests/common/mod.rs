// SPDX-License-Identifier: GPL-2.0

//! A running demo server, and a client for it.

#![allow(dead_code, unreachable_pub)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Nothing here takes longer unless it hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// The server's processes; they end with the test.
pub struct Demo {
    child: Child,
    output: BufReader<ChildStdout>,
    /// The first address that it listens on.
    pub address: SocketAddr,
}

impl Demo {
    /// Starts it with -v and `options`, of which one is an address.
    pub fn start(options: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_fastsocket-demo"))
            .arg("-v")
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the demo starts");
        let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
        let line = wait_for(&mut output, "listening on ");
        let address = line.rsplit(' ').next().expect("an address");
        let address = address.trim().parse().expect("an address");
        Self {
            child,
            output,
            address,
        }
    }

    /// Sends a signal to the master.
    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Reads its output up to a line with `text`.
    pub fn wait_for(&mut self, text: &str) -> String {
        wait_for(&mut self.output, text)
    }

    /// SIGTERM; returns the status and the rest of the output.
    pub fn stop(mut self) -> (ExitStatus, String) {
        self.signal("TERM");
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).expect("output");
        (self.child.wait().expect("the master"), rest)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // The workers end with their master.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn signal(pid: u32, name: &str) {
    let kill = format!("kill -{name} {pid}");
    let status = Command::new("sh").args(["-c", &kill]).status();
    assert!(status.expect("a shell").success(), "{kill}");
}

fn wait_for(output: &mut BufReader<ChildStdout>, text: &str) -> String {
    loop {
        let mut line = String::new();
        let count = output.read_line(&mut line).expect("output");
        assert!(count > 0, "the demo ended before it said {text:?}");
        if line.contains(text) {
            return line;
        }
    }
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    stream.set_write_timeout(Some(PATIENCE)).expect("set");
    stream
}

/// Sends `request` and reads until the server closes; a reset is a failure.
pub fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = connect(address);
    stream.write_all(request).expect("sent");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("received");
    response
}

/// Reads one response with a body of `Content-Length`.
pub fn read_response(stream: &mut impl BufRead) -> (String, Vec<u8>) {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(stream.read_line(&mut head).expect("a line") > 0, "{head:?}");
    }
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "))
        .and_then(|value| value.parse().ok())
        .expect("a length");
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("a body");
    (head, body)
}

/// Waits until `done`.
pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}
