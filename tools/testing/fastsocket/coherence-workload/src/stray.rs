// SPDX-License-Identifier: GPL-2.0

//! Segments that belong to no connection, as floods are made of: each is looked for, and answered by a reset.

use crate::net::PORT;
use fastsocket_guest::net::{connect, raw_socket, send};
use std::{io, net::Ipv4Addr, os::fd::OwnedFd};

/// The headers of IPv4 and TCP, without options.
const IP: usize = 20;
const TCP: usize = 20;

const TCP_ACK: u8 = 16;

/// What sends them.
pub(crate) struct Sender {
    socket: OwnedFd,
    to: Ipv4Addr,
    port: u16,
}

impl Sender {
    /// They will come from this address, and from other ports than those of any other CPU's.
    pub(crate) fn new(cpu: u32, to: Ipv4Addr) -> io::Result<Self> {
        let socket = raw_socket()?;
        connect(&socket, to, 0)?;
        Ok(Self {
            socket,
            to,
            port: 10000 + 1000 * cpu as u16,
        })
    }

    /// Sends the next one.
    pub(crate) fn send(&mut self) -> io::Result<()> {
        self.port += 1;
        send(&self.socket, &ack(self.to, self.port, PORT))
    }
}

/// An ACK from an address to itself. What is left out of the IP header is filled in by the kernel.
fn ack(ip: Ipv4Addr, from: u16, to: u16) -> [u8; IP + TCP] {
    let mut packet = [0; IP + TCP];
    packet[0] = 0x45;
    packet[8] = 64;
    packet[9] = libc::IPPROTO_TCP as u8;
    packet[12..16].copy_from_slice(&ip.octets());
    packet[16..20].copy_from_slice(&ip.octets());
    let (header, tcp) = packet.split_at_mut(IP);
    tcp[..2].copy_from_slice(&from.to_be_bytes());
    tcp[2..4].copy_from_slice(&to.to_be_bytes());
    tcp[12] = (TCP as u8 / 4) << 4;
    tcp[13] = TCP_ACK;
    let pseudo = [0, libc::IPPROTO_TCP as u8, 0, TCP as u8];
    let sum = checksum(&[&header[12..20], &pseudo, tcp]);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// The Internet's checksum of parts that are each of an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks_exact(2));
    let mut sum: u32 = words
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sum over all that it covers, with it, is nothing.
    #[test]
    fn the_receiver_finds_it_right() {
        let packet = ack(Ipv4Addr::LOCALHOST, 12345, 8080);
        let pseudo = [0, libc::IPPROTO_TCP as u8, 0, TCP as u8];
        assert_eq!(checksum(&[&packet[12..20], &pseudo, &packet[IP..]]), 0);
    }
}
