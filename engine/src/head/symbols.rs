//! Interned strings: each label name and value of a shard is kept once and known by a number.

use hashbrown::HashTable;

use super::hash_bytes;

/// The number of an interned string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Symbol(u32);

/// The interned strings of a shard.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    text: String,
    /// Where each symbol's text ends.
    ends: Vec<u32>,
    by_text: HashTable<Symbol>,
}

impl Symbols {
    /// The text of a symbol.
    pub(super) fn text(&self, symbol: Symbol) -> &str {
        let index = symbol.0 as usize;
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        &self.text[start..self.ends[index] as usize]
    }

    /// The symbol of a text that is interned already.
    pub(super) fn get(&self, text: &str) -> Option<Symbol> {
        let hash = hash_bytes(text.as_bytes());
        self.by_text.find(hash, |symbol| self.text(*symbol) == text).copied()
    }

    /// The symbol of a text.
    pub(super) fn intern(&mut self, text: &str) -> Symbol {
        if let Some(symbol) = self.get(text) {
            return symbol;
        }
        let symbol = Symbol(self.ends.len() as u32);
        self.text.push_str(text);
        self.ends.push(self.text.len() as u32);
        let Self { text: all, ends, by_text } = self;
        let text_of = |symbol: &Symbol| {
            let index = symbol.0 as usize;
            let start = if index == 0 { 0 } else { ends[index - 1] as usize };
            &all.as_bytes()[start..ends[index] as usize]
        };
        by_text.insert_unique(hash_bytes(text.as_bytes()), symbol, |symbol| hash_bytes(text_of(symbol)));
        symbol
    }

    /// Bytes on the heap, roughly.
    pub(super) fn heap_bytes(&self) -> usize {
        self.text.capacity() + self.ends.capacity() * 4 + self.by_text.capacity() * 5
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_once() {
        let mut symbols = Symbols::default();
        let texts: Vec<String> = (0..1000).map(|i| format!("value-{i}")).collect();
        let first: Vec<Symbol> = texts.iter().map(|text| symbols.intern(text)).collect();
        let again: Vec<Symbol> = texts.iter().map(|text| symbols.intern(text)).collect();
        assert_eq!(first, again);
        assert!(texts.iter().zip(&first).all(|(text, symbol)| symbols.text(*symbol) == text));
        assert_eq!(symbols.get("value-1000"), None);
    }
}
