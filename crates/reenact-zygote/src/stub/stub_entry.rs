//! Root of the stub, a static executable of its own: what stands at `/workspace/executable` in a room. It passes the whole of its
//! circumstances to the oracle and then stands for the reference: signals in, exit out. Compiled by
//! `reenact-sandbox/build.rs` with `-nostartfiles`, not by cargo.
#![no_std]
#![no_main]
#![allow(dead_code, missing_docs)]

mod complain;
mod gather;
mod stand;
mod terminal;

#[path = "../oracle/kernel.rs"]
mod kernel;
#[path = "../mem.rs"]
mod mem;
#[path = "../proto.rs"]
mod proto;
#[path = "../sys.rs"]
mod sys;
#[path = "../oracle/proto.rs"]
mod wire;

core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {main}",
    "ud2",
    main = sym start,
);

/// `stack`: argument count, arguments, NULL, environment, NULL, as the kernel leaves them.
extern "C" fn start(stack: *const usize) -> ! {
    // SAFETY: this is the initial stack pointer.
    let arguments = unsafe { gather::Arguments::from_stack(stack) };
    match gather::send(&arguments) {
        Ok(call) => stand::stand(call),
        Err(errno) => complain::end(errno, 2),
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    sys::exit(125)
}
