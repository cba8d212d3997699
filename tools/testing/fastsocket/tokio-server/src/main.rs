// SPDX-License-Identifier: GPL-2.0

//! A server of HTTP as one writes it with tokio: one task accepts, and each
//! connection has a task, on threads that share an epoll descriptor.
//!
//!     fastsocket-tokio-server PORT THREADS

use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const ANSWER: &[u8] = b"HTTP/1.0 200 OK\r\nContent-Length: 7\r\n\r\nserved\n";
const END: &[u8] = b"\r\n\r\n";

/// Answers one request, and closes.
async fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut request = [0; 4096];
    let mut len = 0;
    while !request[..len].ends_with(END) {
        match stream.read(&mut request[len..]).await? {
            0 => return Ok(()),
            count => len += count,
        }
    }
    stream.write_all(ANSWER).await?;
    stream.shutdown().await
}

async fn serve(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", port)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        // A client that went away is its own business.
        tokio::spawn(async { drop(answer(stream).await) });
    }
}

fn main() -> io::Result<()> {
    let usage = || io::Error::other("usage: fastsocket-tokio-server PORT THREADS");
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<u16>());
    let (Some(Ok(port)), Some(Ok(threads)), None) = (args.next(), args.next(), args.next()) else {
        return Err(usage());
    };
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.into())
        .enable_io()
        .build()?
        .block_on(serve(port))
}
