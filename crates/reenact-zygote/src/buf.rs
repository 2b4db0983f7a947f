//! A growable byte buffer on anonymous memory. There is no allocator in the zygote.

use crate::sys::{call, nr};

/// A growable byte buffer. It never shrinks its mapping, but [`Buf::trim`] gives pages back.
pub struct Buf {
    ptr: *mut u8,
    len: usize,
    cap: usize,
}

const PAGE: usize = 4096;

impl Buf {
    /// A buffer with room for at least `cap` bytes. Ends the process if the kernel gives no memory: the host then reports a
    /// lost cell, which is what it is.
    pub fn new(cap: usize) -> Self {
        let cap = cap.next_multiple_of(PAGE).max(PAGE);
        // SAFETY: a fresh private anonymous mapping (PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS).
        match unsafe { call(nr::MMAP, [0, cap, 3, 0x22, usize::MAX, 0]) } {
            Ok(at) => Self { ptr: at as *mut u8, len: 0, cap },
            Err(_) => crate::sys::exit(102),
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn clear(&mut self) {
        self.len = 0;
    }

    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the first `len` bytes are initialised (anonymous memory is zeroed anyway).
        unsafe { core::slice::from_raw_parts(self.ptr, self.len) }
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `self` is borrowed mutably.
        unsafe { core::slice::from_raw_parts_mut(self.ptr, self.len) }
    }

    /// At least `n` bytes of unused room.
    pub fn room(&mut self, n: usize) -> &mut [u8] {
        if self.cap - self.len < n {
            let cap = (self.len + n).max(self.cap * 2).next_multiple_of(PAGE);
            // SAFETY: `ptr` is a mapping of `cap` bytes that this buffer owns; MREMAP_MAYMOVE (1).
            match unsafe { call(nr::MREMAP, [self.ptr as usize, self.cap, cap, 1, 0, 0]) } {
                Ok(at) => {
                    self.ptr = at as *mut u8;
                    self.cap = cap;
                }
                Err(_) => crate::sys::exit(102),
            }
        }
        // SAFETY: the range lies inside the mapping.
        unsafe { core::slice::from_raw_parts_mut(self.ptr.add(self.len), self.cap - self.len) }
    }

    /// Takes `n` bytes of the room as filled.
    pub fn fill(&mut self, n: usize) {
        self.len = (self.len + n).min(self.cap);
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.room(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        self.fill(bytes.len());
    }

    /// Removes the first `n` bytes.
    pub fn consume(&mut self, n: usize) {
        let n = n.min(self.len);
        let len = self.len;
        self.bytes_mut().copy_within(n..len, 0);
        self.len -= n;
    }

    /// Unmaps the buffer. (A `Drop` would run for the buffers that live as long as the zygote, too.)
    pub fn release(&mut self) {
        // SAFETY: the mapping is this buffer's own; afterwards it is empty and any use makes a fault, not a wild access.
        let _unmapped = unsafe { call(nr::MUNMAP, [self.ptr as usize, self.cap, 0, 0, 0, 0]) };
        self.len = 0;
        self.cap = 0;
        self.ptr = core::ptr::dangling_mut();
    }

    /// Empties the buffer and gives its pages beyond `keep` bytes back, so that one large output does not weigh on every
    /// later child's accounting.
    pub fn trim(&mut self, keep: usize) {
        self.len = 0;
        let keep = keep.next_multiple_of(PAGE);
        if self.cap > keep {
            const MADV_DONTNEED: usize = 4;
            // SAFETY: the range lies inside the mapping and holds nothing (len is 0). Failure costs memory only.
            let _given = unsafe {
                call(
                    nr::MADVISE,
                    [self.ptr as usize + keep, self.cap - keep, MADV_DONTNEED, 0, 0, 0],
                )
            };
        }
    }
}

impl crate::proto::Sink for Buf {
    fn put(&mut self, bytes: &[u8]) {
        self.push(bytes);
    }
}
