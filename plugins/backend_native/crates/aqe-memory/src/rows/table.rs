//! Bytes of rows, by the number of the row.

use crate::buffer::Buffer;

/// Rows whose bytes stand together. Numbers are given out in whole granules.
pub const GRANULE: usize = 1024;

/// As many bytes for each row. Rows that came in one batch share a buffer, others have one for each granule.
#[derive(Debug, Default)]
pub struct Table {
    row_bytes: usize,
    buffers: Vec<Buffer>,
    /// The buffer of each granule, and its number in it.
    granules: Vec<[u32; 2]>,
}

impl Table {
    /// No rows, of so many bytes each.
    pub fn new(row_bytes: usize) -> Table {
        Table {
            row_bytes,
            ..Table::default()
        }
    }

    /// Room for so many rows, in whole granules.
    pub fn room(rows: usize, row_bytes: usize) -> Buffer {
        Buffer::zeroed(rows.next_multiple_of(GRANULE) * row_bytes)
    }

    /// Rows that there is room for.
    pub fn rows(&self) -> usize {
        self.granules.len() * GRANULE
    }

    /// Make room for another granule.
    pub fn extend(&mut self) {
        self.adopt(Table::room(GRANULE, self.row_bytes));
    }

    /// Append whole granules.
    pub fn adopt(&mut self, buffer: Buffer) {
        let count = buffer.get().len() / (GRANULE * self.row_bytes);
        let number = self.buffers.len() as u32;
        self.buffers.push(buffer);
        self.granules
            .extend((0..count as u32).map(|granule| [number, granule]));
    }

    /// The bytes of a row.
    #[inline]
    pub fn get(&self, row: u32) -> &[u8] {
        let [buffer, granule] = self.granules[row as usize / GRANULE];
        let place = granule as usize * GRANULE + row as usize % GRANULE;
        &self.buffers[buffer as usize].get()[place * self.row_bytes..][..self.row_bytes]
    }

    /// The bytes of a row, to be changed.
    pub fn get_mut(&mut self, row: u32) -> &mut [u8] {
        let [buffer, granule] = self.granules[row as usize / GRANULE];
        let place = granule as usize * GRANULE + row as usize % GRANULE;
        &mut self.buffers[buffer as usize].get_mut()[place * self.row_bytes..][..self.row_bytes]
    }

    /// Memory taken, in bytes.
    pub fn bytes(&self) -> usize {
        let buffers: usize = self.buffers.iter().map(Buffer::bytes).sum();
        buffers + 8 * self.granules.capacity()
    }
}
