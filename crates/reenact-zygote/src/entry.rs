//! Root of the static executable. Compiled by `reenact-sandbox/build.rs` with `-nostartfiles`, not by cargo.
#![no_std]
#![no_main]
#![allow(dead_code, missing_docs)]

#[path = "buf.rs"]
mod buf;
#[path = "clean.rs"]
mod clean;
#[path = "list.rs"]
mod list;
#[path = "main_loop.rs"]
mod main_loop;
#[path = "mem.rs"]
mod mem;
#[path = "oracle/mod.rs"]
mod oracle;
#[path = "proto.rs"]
mod proto;
#[path = "room.rs"]
mod room;
#[path = "run.rs"]
mod run;
#[path = "setup.rs"]
mod setup;
#[path = "spawn.rs"]
mod spawn;
#[path = "sys.rs"]
mod sys;
#[path = "tty.rs"]
mod tty;

core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "and rsp, -16",
    "call {main}",
    "ud2",
    main = sym start,
);

extern "C" fn start() -> ! {
    main_loop::main()
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Exit code 101 tells the host that the zygote itself is at fault.
    sys::exit(101)
}
