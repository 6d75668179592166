//! The inner loops, in one version for each [`Level`].
//!
//! All sums are of integers, and floats are multiplied and added in one fixed order without fusing, so that every
//! level gives the same bits.

/// The kernel of the widest instructions, else the portable one, compiled for the level.
macro_rules! widest {
    ($level:expr, $name:ident($($argument:expr),*)) => {
        match $level {
            // SAFETY: a level is only made where the processor supports it.
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 | Level::Avx512Vbmi => unsafe { avx512::$name($($argument),*) },
            level => vectorized(
                level,
                #[inline(always)]
                || portable::$name($($argument),*),
            ),
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod pairs;
mod portable;

use crate::level::Level;
use std::array;

pub use pairs::{ranks, repeated};

/// Rows that are scanned together.
pub const BLOCK: usize = 32;

/// Pairs of bytes of codes (16 dimensions each) whose table entries add up within a byte, where the two bytes of a pair
/// are summed apart.
pub const RUN: usize = 4;

/// Bytes of the table for two bytes of codes.
pub const TABLE: usize = 128;

/// The largest table entry: `2 * RUN` of them fit into a byte.
pub const MAX_ENTRY: f32 = 31.0;

/// The lane of a byte in the 32 of a block: even bytes first, as 16-bit sums fall out of bytes.
pub const fn lane_of(byte: usize) -> usize {
    (byte % 2) * (BLOCK / 2) + byte / 2
}

/// The byte of a lane.
pub const fn byte_of(lane: usize) -> usize {
    (lane % (BLOCK / 2)) * 2 + lane / (BLOCK / 2)
}

/// Where the first line of a block begins among the codes of so many blocks, and how far its lines are apart.
///
/// A line is what 8 dimensions of all rows of a block take, a byte each. The lines of two blocks stand side by side; a
/// block that is left over stands alone.
pub const fn lines_of(block: usize, blocks: usize, width: usize) -> (usize, usize) {
    if block | 1 < blocks {
        (block / 2 * 2 * width + block % 2 * BLOCK, 2 * BLOCK)
    } else {
        (block * width, BLOCK)
    }
}

/// Codes of one list. Each block fills from its first byte on.
#[derive(Clone, Copy, Default)]
pub struct Codes<'a> {
    /// Lines of the blocks, as [`lines_of`] tells.
    pub codes: &'a [u8],
    /// For each block 32 slopes, then 32 offsets, by lane.
    pub factors: &'a [f32],
    /// For each block 32 row numbers, by lane.
    pub rows: &'a [u32],
    /// How many bytes are filled in all blocks together.
    pub len: usize,
}

/// What a query brings to a scan.
pub struct Lookup<'a> {
    /// What the level's scan looks up; see [`tabulate`].
    pub table: &'a [u8],
    /// Bytes of a code.
    pub bytes: usize,
    /// The dot product of query and signs is `sum * step + shift`.
    pub step: f32,
    /// See `step`.
    pub shift: f32,
}

/// Two blocks of a list side by side, or one that is left over.
#[derive(Default)]
struct Pair<'a> {
    codes: &'a [u8],
    factors: &'a [f32],
    rows: &'a [u32],
}

impl<'a> Codes<'a> {
    #[inline(always)]
    fn blocks(&self) -> usize {
        self.len.div_ceil(BLOCK)
    }

    /// By the number of the first block, which is even.
    #[inline(always)]
    fn pair(&self, number: usize, width: usize) -> Pair<'a> {
        let end = self.blocks().min(number + 2);
        Pair {
            codes: &self.codes[number * width..end * width],
            factors: &self.factors[number * 2 * BLOCK..end * 2 * BLOCK],
            rows: &self.rows[number * BLOCK..end * BLOCK],
        }
    }

    /// The same where there is one, else the first one of the next list, which may have none.
    #[inline(always)]
    fn ahead(&self, next: &Codes<'a>, number: usize, width: usize) -> Pair<'a> {
        if number < self.blocks() {
            self.pair(number, width)
        } else if next.len > 0 {
            next.pair(0, width)
        } else {
            Pair::default()
        }
    }
}

impl Lookup<'_> {
    /// Bytes of codes in a block.
    fn width(&self) -> usize {
        self.bytes * BLOCK
    }
}

/// Rows whose estimate is above the threshold, in the order of scanning.
#[derive(Default)]
pub struct Survivors {
    /// Estimates, of which the first `len` count.
    pub estimates: Vec<f32>,
    /// Row numbers beside them.
    pub rows: Vec<u32>,
    /// How many there are.
    pub len: usize,
}

impl Survivors {
    /// Forget all, and make room for this many.
    pub fn reset(&mut self, capacity: usize) {
        self.len = 0;
        self.estimates.resize(capacity + BLOCK, 0.0);
        self.rows.resize(capacity + BLOCK, 0);
    }

    /// Whether two more blocks may not fit. Asked before every second block, at every level alike.
    pub fn is_full(&self) -> bool {
        self.len + 2 * BLOCK > self.rows.len()
    }

    fn push(&mut self, estimate: f32, row: u32) {
        self.estimates[self.len] = estimate;
        self.rows[self.len] = row;
        self.len += 1;
    }
}

/// Scan a list by what gives the sums of two blocks and of one, and what collects a block's rows by them.
#[inline(always)]
fn scan_by<S>(
    [list, next]: [&Codes; 2],
    width: usize,
    first: usize,
    out: &mut Survivors,
    two: impl Fn(&[u8]) -> [S; 2],
    one: impl Fn(&[u8]) -> [S; 1],
    collect: impl Fn(S, &[f32; 2 * BLOCK], &[u32; BLOCK], &mut Survivors),
) -> usize {
    for number in (first..list.blocks()).step_by(2) {
        if out.is_full() {
            return number;
        }
        let pair = list.pair(number, width);
        let ahead = list.ahead(next, number + 2, width);
        prefetch(ahead.codes);
        prefetch(ahead.factors);
        prefetch(ahead.rows);
        let factors = pair.factors.as_chunks().0.iter();
        let mut blocks = factors.zip(pair.rows.as_chunks().0);
        let mut each = |sums| {
            if let Some((factors, rows)) = blocks.next() {
                collect(sums, factors, rows, out);
            }
        };
        if pair.rows.len() == 2 * BLOCK {
            two(pair.codes).into_iter().for_each(&mut each);
        } else {
            one(pair.codes).into_iter().for_each(&mut each);
        }
    }
    list.blocks()
}

macro_rules! dispatch {
    ($level:expr, $name:ident($($argument:expr),*)) => {
        match $level {
            // SAFETY: a level is only made where the processor supports it (`Level::is_supported`).
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 | Level::Avx512Vbmi => unsafe { avx512::$name($($argument),*) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => unsafe { avx2::$name($($argument),*) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Level::Neon => unsafe { neon::$name($($argument),*) },
            _ => portable::$name($($argument),*),
        }
    };
}

/// Estimate the rows of a list from block `first` on, which is even, and collect those above the threshold; stop where
/// `out` is full. Return the next block. An estimate is `slope * (sum * step + shift) + (offset + base)`.
///
/// `lists` are this list and the one that is scanned next, whose first block is fetched ahead.
pub fn scan(
    level: Level,
    lists: [&Codes; 2],
    query: &Lookup,
    base: f32,
    threshold: f32,
    first: usize,
    out: &mut Survivors,
) -> usize {
    #[cfg(target_arch = "x86_64")]
    if level == Level::Avx512Vbmi {
        // SAFETY: a level is only made where the processor supports it.
        return unsafe { avx512::vbmi::scan(lists, query, base, threshold, first, out) };
    }
    dispatch!(level, scan(lists, query, base, threshold, first, out))
}

/// Bytes of the table for a query of so many dimensions.
pub fn table_bytes(level: Level, dims: usize) -> usize {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512Vbmi => avx512::vbmi::table_bytes(dims),
        _ => dims / 16 * TABLE,
    }
}

/// Fill the table of a [`Lookup`] for a query of integers, of which no four that belong together add up to more than
/// [`MAX_ENTRY`] in magnitude: the entry of some signs is the sum where they are set, less the least such sum. Return
/// the sum of the latter.
///
/// For each 16 dimensions, and so two bytes of codes, there are 128 bytes: the 16 entries of the first byte's lower half
/// twice, those of the second byte's lower half twice; then the same of the upper halves. An entry is the first one and,
/// for each bit of its number, what the bit adds. With VBMI there are 64 entries of six signs: see `avx512::vbmi`.
pub fn tabulate(level: Level, query: &[i32], table: &mut [u8]) -> i32 {
    assert_eq!(table.len(), table_bytes(level, query.len()));
    #[cfg(target_arch = "x86_64")]
    if level == Level::Avx512Vbmi {
        // SAFETY: a level is only made where the processor supports it.
        return unsafe { avx512::vbmi::tabulate(query, table) };
    }
    widest!(level, tabulate(query, table))
}

/// The dot product of a plane of 4-bit numbers and a query, whose length is a multiple of 128.
pub fn dot4(level: Level, plane: &[u8], query: &[i8]) -> i32 {
    dispatch!(level, dot4(plane, query))
}

/// The same of four planes.
pub fn dot4_of_four(level: Level, planes: [&[u8]; 4], query: &[i8]) -> [i32; 4] {
    match level {
        // SAFETY: a level is only made where the processor supports it.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 | Level::Avx512Vbmi => unsafe { avx512::dot4_of_four(planes, query) },
        _ => planes.map(|plane| dot4(level, plane, query)),
    }
}

/// The dot products of 10-bit numbers, as planes of 4, 4 and 2 bits, and two queries.
pub fn dot10(level: Level, a: &[u8], b: &[u8], c: &[u8], query: [&[i8]; 2]) -> [i32; 2] {
    dispatch!(level, dot10(a, b, c, query))
}

/// The dot products of unsigned bytes and the first `out.len()` rows of signed ones.
pub fn dots(level: Level, left: &[u8], rows: &[i8], out: &mut [i32]) {
    dispatch!(level, dots(left, rows, out))
}

/// The dot products of unsigned bytes and the rows of signed ones that have these numbers.
pub fn dots_at(level: Level, left: &[u8], rows: &[i8], numbers: &[u32], out: &mut [i32]) {
    assert_eq!(numbers.len(), out.len());
    match level {
        // SAFETY: a level is only made where the processor supports it.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 | Level::Avx512Vbmi => unsafe { avx512::dots_at(left, rows, numbers, out) },
        _ => {
            for (&number, value) in numbers.iter().zip(out) {
                let row = &rows[number as usize * left.len()..][..left.len()];
                dots(level, left, row, std::slice::from_mut(value));
            }
        }
    }
}

/// Rows that `products` multiplies with together.
pub const PANEL: usize = 32;

/// The dot products of up to four left sides with the 32 rows of a panel, into `out[i * stride + at..]` for each left
/// side i. For levels with AVX-512 only.
pub fn products(lefts: &[u8], panel: &[i8], out: &mut [i32], at: usize, stride: usize) {
    let width = panel.len() / PANEL;
    let count = lefts.len() / width;
    let mut sums = [[0; PANEL]; 4];
    // Of less than four the first one fills the places.
    let lefts: [&[u8]; 4] =
        std::array::from_fn(|i| &lefts[if i < count { i } else { 0 } * width..][..width]);
    assert!(Level::Avx512.is_supported());
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the processor supports it.
    unsafe {
        avx512::products(lefts, panel, sums.each_mut().map(|sums| &mut sums[..]));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (lefts, &mut sums);
    for (i, sums) in sums.iter().take(count).enumerate() {
        out[i * stride + at..][..PANEL].copy_from_slice(sums);
    }
}

/// Write the signs of `row - centre`, eight dimensions a byte. For r the difference, return the sums of `r * r`, `|r|`,
/// `r * centre` and `sign(r) * centre`. Lengths are multiples of 16.
pub fn signs(level: Level, row: &[f32], centre: &[f32], signs: &mut [u8]) -> [f32; 4] {
    let sums = widest!(level, signs(row, centre, signs));
    sums.map(|parts| sum16(&parts))
}

/// Multiply a row by a factor, and subtract the mean from it into `centred`. Write the signs of that, eight dimensions a
/// byte, and return its four sums as [`signs`] does, and its largest magnitude. Lengths are multiples of 16.
pub fn centre(
    level: Level,
    row: &mut [f32],
    factor: f32,
    mean: &[f32],
    centred: &mut [f32],
    signs: &mut [u8],
) -> [f32; 5] {
    widest!(level, centre(row, factor, mean, centred, signs))
}

/// Run a closure compiled for the level: its loops use the level's registers, and give the same bits.
#[inline(always)]
pub fn vectorized<T>(level: Level, work: impl FnOnce() -> T) -> T {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
        fn with_avx512<T>(work: impl FnOnce() -> T) -> T {
            work()
        }
        #[target_feature(enable = "avx2")]
        fn with_avx2<T>(work: impl FnOnce() -> T) -> T {
            work()
        }
        match level {
            // SAFETY: a level is only made where the processor supports it.
            Level::Avx512 | Level::Avx512Vbmi => return unsafe { with_avx512(work) },
            // SAFETY: as above.
            Level::Avx2 => return unsafe { with_avx2(work) },
            Level::Portable | Level::Neon => {}
        }
    }
    let _ = level;
    work()
}

/// Ask for the cache lines of a slice.
#[inline(always)]
pub fn prefetch<T>(values: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for value in values.iter().step_by((64 / size_of::<T>()).max(1)) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: prefetching has no effect but on caches; SSE is part of x86-64.
        unsafe { _mm_prefetch(std::ptr::from_ref(value).cast(), _MM_HINT_T0) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = values;
}

/// The nearest integer of a number below 2^22 in magnitude, halves to even. Unlike a cast it is one addition, and is
/// compiled to vectors.
#[inline(always)]
pub fn rounded(x: f32) -> i32 {
    const SHIFT: f32 = 12_582_912.0; // 1.5 * 2^23: beyond it the spacing of floats is one
    (x + SHIFT).to_bits().wrapping_sub(SHIFT.to_bits()) as i32
}

/// Of values in groups of four the largest sum of magnitudes in a group, and the sum of all. The length is a multiple of
/// 16.
pub fn groups(level: Level, values: &[f32]) -> [f32; 2] {
    let [sizes, sums] = widest!(level, groups(values));
    // Each size is there four times.
    let size = |i: usize| sizes[4 * i];
    let largest = size(0).max(size(1)).max(size(2).max(size(3)));
    [largest, sum16(&sums)]
}

/// The least and the largest of the values; infinities the other way round if there are none.
pub fn extent(level: Level, values: &[f32]) -> [f32; 2] {
    widest!(level, extent(values))
}

/// How many of the values are above a bound.
pub fn count_above(level: Level, values: &[f32], bound: f32) -> usize {
    widest!(level, count_above(values, bound))
}

/// Move the values above a bound, and what stands beside them, to the front; return how many there are.
pub fn compress(level: Level, values: &mut [f32], others: &mut [u32], bound: f32) -> usize {
    match level {
        // SAFETY: a level is only made where the processor supports it.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 | Level::Avx512Vbmi => unsafe { avx512::compress(values, others, bound) },
        _ => portable::compress(values, others, bound),
    }
}

/// A dot product, as `dot_f32` computes it.
pub fn dot(level: Level, left: &[f32], right: &[f32]) -> f32 {
    assert_eq!(left.len(), right.len());
    match level {
        // SAFETY: a level is only made where the processor supports it.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 | Level::Avx512Vbmi => sum16(&unsafe { avx512::dot(left, right) }),
        _ => vectorized(
            level,
            #[inline(always)]
            || dot_f32(left, right),
        ),
    }
}

/// A dot product in 32 partial sums, the same at every level.
#[inline(always)]
pub fn dot_f32(left: &[f32], right: &[f32]) -> f32 {
    let mut sums = [0f32; 32];
    let (a, b) = (left.chunks_exact(32), right.chunks_exact(32));
    let (rest_a, rest_b) = (a.remainder(), b.remainder());
    for (x, y) in a.zip(b) {
        for i in 0..32 {
            sums[i] += x[i] * y[i];
        }
    }
    for (i, (x, y)) in rest_a.iter().zip(rest_b).enumerate() {
        sums[i] += x * y;
    }
    sum16(&array::from_fn(|i| sums[i] + sums[i + 16]))
}

/// The sum of 16 numbers, pairwise.
///
/// Not inlined, as this and the next one would otherwise be woven into the loops before them, which are then compiled
/// to pieces of vectors: three times slower.
#[inline(never)]
pub fn sum16(sums: &[f32; 16]) -> f32 {
    let mut sums = *sums;
    for width in [8, 4, 2, 1] {
        for i in 0..width {
            sums[i] += sums[i + width];
        }
    }
    sums[0]
}

/// The largest of 16 numbers and of one more.
#[inline(never)]
pub fn max16(values: &[f32; 16], least: f32) -> f32 {
    values
        .iter()
        .fold(least, |most, x| if *x > most { *x } else { most })
}

#[cfg(test)]
mod tests;
