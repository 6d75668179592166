//! Sections of a snapshot: bytes written and read with their checksum.

use std::fs::File;
use std::io::{self, Write};

use xxhash_rust::xxh3::Xxh3;

use super::{Error, PAGE, Part, damaged};

/// Bytes that are converted together.
const BATCH: usize = 1 << 16;

/// Bytes that are read together.
const PART: usize = 1 << 18;

/// A number as it stands in a file.
pub(crate) trait Number: Copy {
    /// Bytes of one.
    const SIZE: usize;
    fn read(bytes: &[u8]) -> Self;
    fn write(self, out: &mut Vec<u8>);
}

macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl Number for $type {
            const SIZE: usize = size_of::<$type>();

            fn read(bytes: &[u8]) -> $type {
                <$type>::from_le_bytes(bytes.try_into().expect("as many bytes as a number has"))
            }

            fn write(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
        }
    )*};
}

numbers!(u16, u32, u64, f32);

/// Writes sections one after the other.
pub(crate) struct Writer<'a> {
    file: io::BufWriter<&'a File>,
    hash: Xxh3,
    length: usize,
    batch: Vec<u8>,
}

impl<'a> Writer<'a> {
    pub fn new(file: &'a File) -> Writer<'a> {
        Writer {
            file: io::BufWriter::with_capacity(1 << 20, file),
            hash: Xxh3::new(),
            length: 0,
            batch: Vec::with_capacity(BATCH + 8),
        }
    }

    pub fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.length += bytes.len();
        self.file.write_all(bytes)
    }

    pub fn numbers<T: Number>(&mut self, numbers: impl IntoIterator<Item = T>) -> io::Result<()> {
        let mut batch = std::mem::take(&mut self.batch);
        for number in numbers {
            number.write(&mut batch);
            if batch.len() >= BATCH {
                self.bytes(&batch)?;
                batch.clear();
            }
        }
        self.bytes(&batch)?;
        batch.clear();
        self.batch = batch;
        Ok(())
    }

    /// Fill the section up, and return its checksum.
    pub fn end(&mut self) -> io::Result<u64> {
        let filling = self.length.next_multiple_of(PAGE) - self.length;
        self.bytes(&[0; PAGE][..filling])?;
        self.length = 0;
        let hash = self.hash.digest();
        self.hash.reset();
        Ok(hash)
    }

    pub fn finish(mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// One section, read from its begin to its end. What was read counts only when [`Section::end`] has agreed.
pub(crate) struct Section<'a> {
    file: &'a File,
    part: Part,
    offset: u64,
    end: u64,
    hash: Xxh3,
    wanted: u64,
}

impl<'a> Section<'a> {
    pub fn new(file: &'a File, part: Part, [offset, end]: [u64; 2], wanted: u64) -> Section<'a> {
        Section {
            file,
            part,
            offset,
            end,
            hash: Xxh3::new(),
            wanted,
        }
    }

    /// Fill a slice with the next bytes.
    pub fn bytes(&mut self, out: &mut [u8]) -> Result<(), Error> {
        if out.len() as u64 > self.end - self.offset {
            return damaged(format!("its section {:?} is too short", self.part));
        }
        // In parts that are still in the cache when their checksum is computed.
        for part in out.chunks_mut(PART) {
            read_at(self.file, part, self.offset)?;
            self.offset += part.len() as u64;
            self.hash.update(part);
        }
        Ok(())
    }

    /// The next numbers. Their count has been compared with the length of the file.
    pub fn numbers<T: Number>(&mut self, count: usize) -> Result<Vec<T>, Error> {
        let mut batch = vec![0; BATCH.min(count * T::SIZE)];
        let mut out = Vec::with_capacity(count);
        while out.len() < count {
            let bytes = batch.len().min((count - out.len()) * T::SIZE);
            self.bytes(&mut batch[..bytes])?;
            out.extend(batch[..bytes].chunks_exact(T::SIZE).map(T::read));
        }
        Ok(out)
    }

    /// Read the filling and compare the checksum.
    pub fn end(mut self) -> Result<(), Error> {
        let mut filling = [0; PAGE];
        let left = (self.end - self.offset) as usize;
        if left >= PAGE {
            return damaged(format!("its section {:?} is too long", self.part));
        }
        self.bytes(&mut filling[..left])?;
        if self.hash.digest() == self.wanted {
            Ok(())
        } else {
            damaged(format!(
                "the checksum of its section {:?} is wrong",
                self.part
            ))
        }
    }
}

#[cfg(unix)]
fn read_at(file: &File, out: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, offset)
}

#[cfg(windows)]
fn read_at(file: &File, mut out: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !out.is_empty() {
        let count = std::os::windows::fs::FileExt::seek_read(file, out, offset)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        offset += count as u64;
        out = &mut out[count..];
    }
    Ok(())
}

#[cfg(not(any(unix, windows)))]
fn read_at(_: &File, _: &mut [u8], _: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
