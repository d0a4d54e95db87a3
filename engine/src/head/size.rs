//! What allocations take, so that a head can say what it holds.

/// What the allocator takes for `bytes` bytes: it has few sizes, 16 bytes apart up to 64, and then four between each power of two
/// and the next.
pub(super) fn allocated(bytes: usize) -> usize {
    match bytes {
        0..=64 => bytes.next_multiple_of(16),
        _ => bytes.next_multiple_of((1 << (bytes - 1).ilog2()) / 4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_allocator() {
        for (bytes, size) in
            [(0, 0), (1, 16), (16, 16), (17, 32), (64, 64), (65, 80), (128, 128), (129, 160), (1025, 1280)]
        {
            assert_eq!(allocated(bytes), size, "{bytes}");
        }
    }
}
