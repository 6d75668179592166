//! Texts to identifiers and subtokens: `HTTPServer2Errors` is the subtokens `http server 2 error`.

use hashbrown::HashMap;

/// Stretches of a text beyond ASCII, as [`pieces`] cuts them, with their subtokens or terms.
pub type Foreign = HashMap<Box<[u8]>, Vec<Box<[u8]>>>;

/// Longer runs of letters or of digits (encoded blobs) count by their beginning.
const MAX_SUBTOKEN: usize = 64;

/// A piece of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'t> {
    /// A run of ASCII letters, digits and underscores, with no other letter beside it.
    Identifier(&'t [u8]),
    /// A stretch with characters beyond ASCII: what it holds does not depend on what is around it.
    Foreign(&'t [u8]),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Separator,
    Word,
    Wide,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Separator; 256];
    let mut byte = 0;
    while byte < 256 {
        if byte >= 128 {
            classes[byte] = Class::Wide;
        } else if (byte as u8).is_ascii_alphanumeric() || byte as u8 == b'_' {
            classes[byte] = Class::Word;
        }
        byte += 1;
    }
    classes
};

/// Cut a text into identifiers and foreign stretches, in order. O(length).
///
/// A foreign stretch begins at the ASCII character before the first wide one, for a mark may compose with it, or where
/// the identifier that it continues does; it ends at the next ASCII separator, with which nothing composes backwards.
pub fn pieces(text: &[u8]) -> impl Iterator<Item = Piece<'_>> {
    // Either of the two has nothing.
    let (ascii, other) = text.split_at(if text.is_ascii() { text.len() } else { 0 });
    Words::new(ascii)
        .map(Piece::Identifier)
        .chain(pieces_beyond(other))
}

/// The identifiers of a text of ASCII, by a bit for each byte: no branch depends on where one ends.
struct Words<'t> {
    text: &'t [u8],
    start: usize, // of the block
    left: u64,    // the bytes of words of the block that are still to come, one bit each
}

const BLOCK: usize = u64::BITS as usize;

impl<'t> Words<'t> {
    fn new(text: &'t [u8]) -> Self {
        let left = Self::words_at(text, 0);
        Self {
            text,
            start: 0,
            left,
        }
    }

    fn words_at(text: &[u8], start: usize) -> u64 {
        let block = &text[start..text.len().min(start + BLOCK)];
        let bit = |&byte: &u8| u64::from(CLASSES[byte as usize] == Class::Word);
        let bits = block.iter().zip(0..).map(|(byte, i)| bit(byte) << i);
        bits.fold(0, |all, bit| all | bit)
    }

    /// Go on to the next block; false where there is none.
    fn advance(&mut self) -> bool {
        let more = self.start + BLOCK < self.text.len();
        if more {
            self.start += BLOCK;
            self.left = Self::words_at(self.text, self.start);
        }
        more
    }
}

impl<'t> Iterator for Words<'t> {
    type Item = &'t [u8];

    fn next(&mut self) -> Option<&'t [u8]> {
        while self.left == 0 {
            if !self.advance() {
                return None;
            }
        }
        let first = self.start + self.left.trailing_zeros() as usize;
        // With the bits below filled up, the word ends where the ones do.
        let mut ones = (self.left | (self.left - 1)).trailing_ones();
        while ones == u64::BITS && self.advance() {
            ones = self.left.trailing_ones();
        }
        self.left &= u64::MAX.checked_shl(ones).unwrap_or(0);
        let end = self.start + ones as usize;
        Some(&self.text[first..end.min(self.text.len())])
    }
}

fn pieces_beyond(text: &[u8]) -> impl Iterator<Item = Piece<'_>> {
    let class_at = |i: usize| CLASSES[text[i] as usize];
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < text.len() && class_at(at) == Class::Separator {
            at += 1;
        }
        let mut start = at;
        while at < text.len() && class_at(at) == Class::Word {
            at += 1;
        }
        if at == text.len() || class_at(at) == Class::Separator {
            return (at > start).then(|| Piece::Identifier(&text[start..at]));
        }
        if at == start {
            start = start.saturating_sub(1);
        }
        while at < text.len() && class_at(at) != Class::Separator {
            at += 1;
        }
        Some(Piece::Foreign(&text[start..at]))
    })
}

/// Call `found` with each subtoken of an identifier of ASCII, in order.
pub fn subtokens_of(identifier: &[u8], mut found: impl FnMut(&[u8])) {
    let mut parts = Parts::default();
    parts.cut(identifier, false);
    parts.subtokens().for_each(&mut found);
}

/// Call `found` with each term of an identifier of ASCII: its subtokens, in order, then its joined pairs.
pub fn terms_of(identifier: &[u8], found: impl FnMut(&[u8])) {
    let mut parts = Parts::default();
    parts.cut(identifier, true);
    parts.terms().for_each(found);
}

/// The subtokens and the terms of a text, in order: stretches of one string, as a joined pair is one, too.
#[derive(Debug, Default)]
pub struct Parts {
    bytes: Vec<u8>,
    subtokens: Vec<(usize, usize)>,
    terms: Vec<(usize, usize)>,
}

impl Parts {
    /// Cut a text into its terms; the subtokens are not told. O(length).
    pub fn terms_of(text: &[u8], foreign: &Foreign) -> Self {
        Self::cut_text(text, None, Some(foreign))
    }

    /// Cut a text into both, by what its foreign stretches hold of each. O(length).
    pub fn of(text: &[u8], subtokens: &Foreign, terms: &Foreign) -> Self {
        Self::cut_text(text, Some(subtokens), Some(terms))
    }

    fn cut_text(text: &[u8], subtokens: Option<&Foreign>, terms: Option<&Foreign>) -> Self {
        let few = text.len() / 4;
        let mut parts = Self {
            bytes: Vec::with_capacity(text.len()),
            subtokens: Vec::with_capacity(few),
            terms: Vec::with_capacity(if terms.is_some() { 2 * few } else { 0 }),
        };
        for piece in pieces(text) {
            match piece {
                Piece::Identifier(identifier) => parts.cut(identifier, terms.is_some()),
                Piece::Foreign(stretch) => {
                    for part in subtokens
                        .and_then(|of| of.get(stretch))
                        .into_iter()
                        .flatten()
                    {
                        let place = parts.push(part);
                        parts.subtokens.push(place);
                    }
                    for part in terms.and_then(|of| of.get(stretch)).into_iter().flatten() {
                        let place = parts.push(part);
                        parts.terms.push(place);
                    }
                }
            }
        }
        parts
    }

    /// The subtokens, in order.
    pub fn subtokens(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.subtokens
            .iter()
            .map(|&(start, end)| &self.bytes[start..end])
    }

    /// The terms: of each identifier its subtokens, then its joined pairs.
    pub fn terms(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.terms
            .iter()
            .map(|&(start, end)| &self.bytes[start..end])
    }

    fn push(&mut self, part: &[u8]) -> (usize, usize) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(part);
        (start, self.bytes.len())
    }

    /// Add the parts of an identifier of ASCII, and its terms where they are to be told.
    pub(crate) fn cut(&mut self, identifier: &[u8], join: bool) {
        let first = self.subtokens.len();
        let mut at = 0;
        while at < identifier.len() {
            let end = end_of_part(identifier, at);
            if identifier[at] != b'_' {
                let part = &identifier[at..end];
                let start = self.bytes.len();
                self.bytes
                    .extend_from_slice(&part[..part.len().min(MAX_SUBTOKEN)]);
                let length = stem(&mut self.bytes[start..]);
                self.bytes.truncate(start + length);
                self.subtokens.push((start, start + length));
            }
            at = end;
        }
        if join {
            let new = &self.subtokens[first..];
            self.terms.extend_from_slice(new);
            let pairs = new.windows(2).map(|pair| (pair[0].0, pair[1].1));
            self.terms.extend(pairs);
        }
    }
}

/// The end of the part that begins at `at`: an acronym, or several (URLs), up to the capital that begins the next
/// word; a word, capitalised or not; a number; or an underscore.
fn end_of_part(word: &[u8], at: usize) -> usize {
    #[inline(always)]
    fn run_of(word: &[u8], from: usize, is: impl Fn(&u8) -> bool) -> usize {
        let end = word[from..].iter().position(|c| !is(c));
        end.map_or(word.len(), |length| from + length)
    }
    let lower_at = |i: usize| word.get(i).is_some_and(u8::is_ascii_lowercase);
    match word[at] {
        b'a'..=b'z' => run_of(word, at, u8::is_ascii_lowercase),
        b'0'..=b'9' => run_of(word, at, u8::is_ascii_digit),
        b'A'..=b'Z' => {
            let capitals = run_of(word, at, u8::is_ascii_uppercase);
            if !lower_at(capitals) {
                capitals
            } else if word[capitals] == b's' && !lower_at(capitals + 1) {
                capitals + 1
            } else if capitals - at > 1 {
                capitals - 1
            } else {
                run_of(word, capitals, u8::is_ascii_lowercase)
            }
        }
        _ => at + 1,
    }
}

/// Lower-case a word and take off its inflection, as the Python function of this name describes; return what length is
/// left.
fn stem(word: &mut [u8]) -> usize {
    word.make_ascii_lowercase();
    let n = word.len();
    if n < 4 || word[0].is_ascii_digit() {
        return n;
    }
    if n > 4 && (word.ends_with(b"ies") || word.ends_with(b"ied")) {
        word[n - 3] = b'y';
        return n - 2;
    }
    let mut end = n;
    if n > 5 && word.ends_with(b"ing") {
        end -= 3;
    } else if n > 4
        && (word.ends_with(b"ed") || (word.ends_with(b"es") && b"hsxz".contains(&word[n - 3])))
    {
        end -= 2;
    } else if word.ends_with(b"s") && !word.ends_with(b"ss") {
        end -= 1;
    }
    if end < n && end > 3 && word[end - 1] == word[end - 2] && b"bdgmnprt".contains(&word[end - 1])
    {
        end -= 1;
    }
    if end > 3 && word[end - 1] == b'e' {
        end -= 1;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subtokens(text: &str) -> Vec<String> {
        let mut out = Vec::new();
        subtokens_of(text.as_bytes(), |part| {
            out.push(String::from_utf8(part.to_vec()).unwrap())
        });
        out
    }

    #[test]
    fn cuts_and_stems() {
        assert_eq!(
            subtokens("test_HTTPServer2Errors"),
            ["test", "http", "server", "2", "error"]
        );
        assert_eq!(subtokens("URLs__IDsOf"), ["url", "ids", "of"]);
        assert_eq!(subtokens("RetriedTooOften"), ["retry", "too", "often"]);
        assert_eq!(subtokens("Xs"), ["xs"]);
        assert_eq!(subtokens("planning"), ["plan"]);
        assert_eq!(subtokens("_"), [""; 0]);
    }

    #[test]
    fn joins_neighbours() {
        let mut out = Vec::new();
        terms_of(b"test_DataFrame", |term| {
            out.push(String::from_utf8(term.to_vec()).unwrap())
        });
        assert_eq!(out, ["test", "data", "fram", "testdata", "datafram"]);
    }

    #[test]
    fn words_are_cut_alike_by_bits_and_by_bytes() {
        for length in 0..260_usize {
            for period in 1..70 {
                let byte = |i: usize| {
                    if i % period == length % period {
                        b' '
                    } else {
                        b"aZ_9"[i % 4]
                    }
                };
                let text: Vec<u8> = (0..length).map(byte).collect();
                let words: Vec<_> = Words::new(&text).map(Piece::Identifier).collect();
                assert_eq!(words, pieces_beyond(&text).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn cuts_out_what_is_not_ascii() {
        let text = "a.b \u{e9}t\u{e9} x_\u{e9} =\u{338} c".as_bytes();
        let found: Vec<_> = pieces(text).collect();
        assert_eq!(
            found,
            [
                Piece::Identifier(b"a"),
                Piece::Identifier(b"b"),
                Piece::Foreign(" \u{e9}t\u{e9}".as_bytes()),
                Piece::Foreign("x_\u{e9}".as_bytes()),
                Piece::Foreign("=\u{338}".as_bytes()),
                Piece::Identifier(b"c"),
            ]
        );
    }
}
