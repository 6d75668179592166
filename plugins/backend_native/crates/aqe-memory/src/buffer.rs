//! Bytes that begin on a cache line.

const LINE: usize = 64;

/// Zeroed bytes of which the first one stands on a multiple of 64.
#[derive(Debug, Default)]
pub struct Buffer {
    raw: Vec<u8>,
    start: usize,
    len: usize,
}

impl Buffer {
    /// `len` zero bytes.
    pub fn zeroed(len: usize) -> Buffer {
        let raw = vec![0; len + LINE - 1];
        let start = raw.as_ptr().align_offset(LINE).min(LINE - 1);
        Buffer { raw, start, len }
    }

    /// The bytes.
    pub fn get(&self) -> &[u8] {
        &self.raw[self.start..self.start + self.len]
    }

    /// The bytes, to be changed.
    pub fn get_mut(&mut self) -> &mut [u8] {
        &mut self.raw[self.start..self.start + self.len]
    }

    /// Become `len` bytes, of no matter what values.
    pub fn resize(&mut self, len: usize) {
        if len != self.len {
            *self = Buffer::zeroed(len);
        }
    }

    /// Grow to `len` bytes; what is there stays.
    pub fn grow(&mut self, len: usize) {
        if len > self.len {
            let mut larger = Buffer::zeroed(len);
            larger.get_mut()[..self.len].copy_from_slice(self.get());
            *self = larger;
        }
    }

    /// Memory taken, in bytes.
    pub fn bytes(&self) -> usize {
        self.raw.capacity()
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Buffer {
        let mut copy = Buffer::zeroed(self.len);
        copy.get_mut().copy_from_slice(self.get());
        copy
    }
}
