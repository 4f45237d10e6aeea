//! Buffers whose memory goes back to the system.
//!
//! A large buffer for each message in progress, freed to the allocator, leaves
//! holes between the small things that sessions keep, and the process stays as
//! large as it ever was. So large buffers are mappings of their own. A few free
//! ones are kept for the next message: mapping memory costs more than filling it.

use std::sync::{Mutex, PoisonError};

use memmap2::MmapMut;

/// Bytes of the buffers that are kept. Smaller ones come from the allocator.
pub(crate) const LARGE: usize = 64 * 1024;

/// Free large buffers that are kept at most: half a MiB.
const KEPT: usize = 8;

static FREE: Mutex<Vec<MmapMut>> = Mutex::new(Vec::new());

/// A buffer of a fixed size, and how much of it is filled.
pub(crate) struct Buffer {
    /// `None` only while it is dropped.
    memory: Option<Memory>,
    filled: usize,
}

enum Memory {
    Mapped(MmapMut),
    Heap(Box<[u8]>),
}

impl Memory {
    fn new(size: usize) -> Memory {
        if size < LARGE {
            return Memory::Heap(vec![0; size].into());
        }
        let free = (size == LARGE).then(|| free().pop()).flatten();
        match free.map_or_else(|| MmapMut::map_anon(size), Ok) {
            Ok(map) => Memory::Mapped(map),
            // The system has no more mappings; the allocator may have memory yet.
            Err(_) => Memory::Heap(vec![0; size].into()),
        }
    }
}

fn free() -> std::sync::MutexGuard<'static, Vec<MmapMut>> {
    FREE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Buffer {
    /// An empty buffer for `size` bytes.
    pub(crate) fn new(size: usize) -> Buffer {
        Buffer {
            memory: Some(Memory::new(size)),
            filled: 0,
        }
    }

    /// Bytes that it can hold.
    pub(crate) fn size(&self) -> usize {
        self.all().len()
    }

    /// Appends as much of `bytes` as there is room for; returns the rest.
    pub(crate) fn append<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let start = self.filled;
        let count = bytes.len().min(self.size() - start);
        let (now, rest) = bytes.split_at_checked(count).unwrap_or((bytes, &[]));
        if let Some(room) = self.all_mut().get_mut(start..start + count) {
            room.copy_from_slice(now);
            self.filled += count;
        }
        rest
    }

    /// What was appended.
    pub(crate) fn filled(&self) -> &[u8] {
        self.all().get(..self.filled).unwrap_or_default()
    }

    /// Forgets what was appended.
    pub(crate) fn clear(&mut self) {
        self.filled = 0;
    }

    /// All of it, whatever was there before.
    pub(crate) fn all(&self) -> &[u8] {
        match &self.memory {
            Some(Memory::Mapped(map)) => map,
            Some(Memory::Heap(bytes)) => bytes,
            None => &[],
        }
    }

    /// All of it, to be read into.
    pub(crate) fn all_mut(&mut self) -> &mut [u8] {
        match &mut self.memory {
            Some(Memory::Mapped(map)) => map,
            Some(Memory::Heap(bytes)) => bytes,
            None => &mut [],
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(Memory::Mapped(map)) = self.memory.take() {
            if map.len() == LARGE {
                let mut free = free();
                if free.len() < KEPT {
                    free.push(map);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_takes_as_much_as_fits() {
        for size in [10, LARGE, LARGE + 1] {
            let mut buffer = Buffer::new(size);
            assert_eq!(buffer.append(b"abc"), b"");
            let large = vec![b'x'; size];
            assert_eq!(buffer.append(&large).len(), 3);
            assert_eq!(buffer.append(b"y"), b"y");
            assert_eq!(buffer.filled().len(), size);
            assert!(buffer.filled().starts_with(b"abcx"));
            buffer.clear();
            assert_eq!(buffer.filled(), b"");
        }
    }

    #[test]
    fn few_free_buffers_are_kept() {
        let many: Vec<_> = (0..3 * KEPT).map(|_| Buffer::new(LARGE)).collect();
        drop(many);
        assert!(free().len() <= KEPT);
    }
}
