// SPDX-License-Identifier: GPL-2.0

//! A bounded buffer between two streams.

const SIZE: usize = 16 * 1024;

/// Bytes on their way in one direction.
pub(crate) struct Pipe {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Pipe {
    pub(crate) fn new() -> Self {
        Self {
            buffer: vec![0; SIZE].into_boxed_slice(),
            start: 0,
            end: 0,
        }
    }

    /// Whether nothing is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether nothing more fits.
    pub(crate) fn is_full(&self) -> bool {
        self.end - self.start == SIZE
    }

    /// What is in it.
    pub(crate) fn data(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// `count` bytes of [`data`](Self::data) are on their way.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start += count;
        if self.is_empty() {
            self.clear();
        }
    }

    /// Room for more; empty only if the pipe is full.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        if self.end == SIZE && self.start > 0 {
            self.buffer.copy_within(self.start.., 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.buffer[self.end..]
    }

    /// `count` bytes of [`space`](Self::space) are filled.
    pub(crate) fn produce(&mut self, count: usize) {
        self.end += count;
    }

    /// Drops what is in it.
    pub(crate) fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_and_bound() {
        let mut pipe = Pipe::new();
        let (mut written, mut read) = (0u32, 0u32);
        for round in 1..2000usize {
            let room = pipe.space();
            let count = room.len().min(round * 7 % 5000);
            for byte in &mut room[..count] {
                *byte = written as u8;
                written += 1;
            }
            pipe.produce(count);
            let count = pipe.data().len().min(round * 11 % 4800);
            for &byte in &pipe.data()[..count] {
                assert_eq!(byte, read as u8);
                read += 1;
            }
            pipe.consume(count);
            assert_eq!((written - read) as usize, pipe.data().len());
            assert_eq!(pipe.is_full(), pipe.space().is_empty());
        }
        assert!(read > 1_000_000);
    }
}
