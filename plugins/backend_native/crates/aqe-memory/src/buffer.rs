//! Bytes that begin on a cache line.

use memmap2::MmapMut;

const LINE: usize = 64;

/// Bytes from which memory is asked of the system, in large pages where it has them: a page is faulted in by 512 times
/// as many bytes, and being faulted in is a third of what a new row costs otherwise.
const LARGE: usize = if cfg!(miri) { 1 << 12 } else { 2 << 20 };

/// Zeroed bytes of which the first one stands on a multiple of 64.
#[derive(Debug)]
pub struct Buffer {
    raw: Raw,
    start: usize,
    len: usize,
}

#[derive(Debug)]
enum Raw {
    Heap(Vec<u8>),
    Mapped(MmapMut),
}

impl Default for Buffer {
    fn default() -> Buffer {
        Buffer::zeroed(0)
    }
}

/// Zero bytes of the system, in large pages if it can be had. None if there is nothing to be had.
fn mapped(len: usize) -> Option<MmapMut> {
    if len < LARGE || cfg!(miri) {
        return None;
    }
    let map = MmapMut::map_anon(len).ok()?;
    #[cfg(target_os = "linux")]
    let _ = map.advise(memmap2::Advice::HugePage); // without them it is slower, no more
    Some(map)
}

impl Buffer {
    /// `len` zero bytes.
    pub fn zeroed(len: usize) -> Buffer {
        if let Some(map) = mapped(len) {
            let (raw, start) = (Raw::Mapped(map), 0);
            return Buffer { raw, start, len };
        }
        let raw = vec![0; len + LINE - 1];
        let start = raw.as_ptr().align_offset(LINE).min(LINE - 1);
        let raw = Raw::Heap(raw);
        Buffer { raw, start, len }
    }

    /// The bytes.
    pub fn get(&self) -> &[u8] {
        let raw: &[u8] = match &self.raw {
            Raw::Heap(bytes) => bytes,
            Raw::Mapped(bytes) => bytes,
        };
        &raw[self.start..self.start + self.len]
    }

    /// The bytes, to be changed.
    pub fn get_mut(&mut self) -> &mut [u8] {
        let raw: &mut [u8] = match &mut self.raw {
            Raw::Heap(bytes) => bytes,
            Raw::Mapped(bytes) => bytes,
        };
        &mut raw[self.start..self.start + self.len]
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
        match &self.raw {
            Raw::Heap(bytes) => bytes.capacity(),
            Raw::Mapped(bytes) => bytes.len(),
        }
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Buffer {
        let mut copy = Buffer::zeroed(self.len);
        copy.get_mut().copy_from_slice(self.get());
        copy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_zero_and_stand_on_a_line_and_stay_when_they_grow() {
        let mut buffer = Buffer::default();
        for len in [0, 1, 100, LARGE - 1, LARGE, LARGE + 100, 3 * LARGE] {
            let before = buffer.clone();
            buffer.grow(len);
            let bytes = buffer.get_mut();
            assert_eq!((bytes.len(), bytes.as_ptr().align_offset(LINE)), (len, 0));
            assert_eq!(&bytes[..before.get().len()], before.get());
            assert!(bytes[before.get().len()..].iter().all(|&byte| byte == 0));
            bytes.fill(7);
            assert!(buffer.bytes() >= len);
        }
    }
}
