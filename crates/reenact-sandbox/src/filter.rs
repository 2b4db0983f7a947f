//! The seccomp filter of every program in a cell: what is refused, and a small BPF assembler.
//!
//! A list of refusals rather than of permissions: the programs under test are arbitrary, and the filter is one layer among
//! several (namespaces, no capabilities, no_new_privs). It closes what the others leave open: new user namespaces, reading
//! other processes, kernel interfaces with a history of escapes, and state that would outlive a case (SysV and POSIX
//! message queues live in the cell's IPC namespace).

const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
const RET_ALLOW: u32 = 0x7fff_0000;
const RET_KILL_PROCESS: u32 = 0x8000_0000;
const RET_ERRNO: u32 = 0x0005_0000;
const X32_BIT: u32 = 0x4000_0000;

const LD_W_ABS: u16 = 0x20;
const JMP_JEQ: u16 = 0x15;
const JMP_JGE: u16 = 0x35;
const JMP_JSET: u16 = 0x45;
const RET: u16 = 0x06;

/// Offset of the low half of argument `n` in `struct seccomp_data`.
const fn arg_low(n: u32) -> u32 {
    16 + 8 * n
}

/// CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}.
const NEW_NAMESPACES: u32 = 0x7e02_0000;

/// Refused with EPERM.
const REFUSED: &[i64] = &[
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_process_madvise,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    libc::SYS_perf_event_open,
    libc::SYS_bpf,
    libc::SYS_userfaultfd,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_acct,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_reboot,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_syslog,
    libc::SYS_lookup_dcookie,
    libc::SYS_vhangup,
];

/// Refused with ENOSYS: programs fall back to something older, or the kernel object would outlive the case.
const ABSENT: &[i64] = &[
    libc::SYS_clone3, // its flags are behind a pointer; C libraries fall back to clone
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_shmget,
    libc::SYS_semget,
    libc::SYS_msgget,
    libc::SYS_mq_open,
];

/// Of the above, what containers may do all the same.
const CONTAINED: &[i64] = &[
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_kcmp,
    libc::SYS_chroot,
    libc::SYS_name_to_handle_at,
    libc::SYS_shmget,
    libc::SYS_semget,
    libc::SYS_msgget,
    libc::SYS_mq_open,
];

/// Address families that may be used: unix, inet, inet6, netlink (the network namespace has no interface but a downed
/// loopback). AF_VSOCK in particular is not confined by a network namespace.
const FAMILIES: &[i32] = &[libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

const TIOCLINUX: u32 = 0x541c;

struct Program(Vec<[u8; 8]>);

impl Program {
    fn op(&mut self, code: u16, jt: u8, jf: u8, k: u32) {
        let mut raw = [0; 8];
        raw[..2].copy_from_slice(&code.to_le_bytes());
        raw[2] = jt;
        raw[3] = jf;
        raw[4..].copy_from_slice(&k.to_le_bytes());
        self.0.push(raw);
    }

    fn load(&mut self, offset: u32) {
        self.op(LD_W_ABS, 0, 0, offset);
    }

    fn ret(&mut self, value: u32) {
        self.op(RET, 0, 0, value);
    }

    /// `if nr == n { return value }`
    fn deny(&mut self, n: i64, value: u32) {
        self.op(JMP_JEQ, 0, 1, n as u32);
        self.ret(value);
    }

    /// `if nr == n { body }`; the body must end in a return on every path. Its length is patched into the jump.
    fn when(&mut self, n: i64, body: impl FnOnce(&mut Self)) {
        let at = self.0.len();
        self.op(JMP_JEQ, 0, 0, n as u32);
        body(self);
        let skip = self.0.len() - at - 1;
        self.0[at][3] = u8::try_from(skip).unwrap_or(u8::MAX);
        debug_assert!(skip < 256, "a rule is too long for its jump");
    }
}

/// Whom a filter is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Programs under test, and builds.
    Case,
    /// An agent's commands: `ptrace` is allowed, so that debuggers work on its own programs. The reference is out of their
    /// reach all the same: it is not dumpable, and its file can only be executed by the broker.
    Agent,
    /// Commands of containers: what the common engines allow and a program may need (chroot, ptrace, System V IPC in the
    /// container's own namespace), and no mounts at all.
    Container,
    /// The oracle's broker, and what it starts: the reference and its children.
    Oracle,
}

/// The filter as an array of `struct sock_filter`. `cookie` is the sixth argument (ignored by the kernel) with which the
/// zygote, and nobody else, may call `mount` and `umount2` (the broker: `setns`, `unshare` and `ptrace` too).
pub fn program(kind: Kind, cookie: u64) -> Vec<u8> {
    let eperm = RET_ERRNO | libc::EPERM as u32;
    let mut p = Program(Vec::new());
    p.load(4);
    p.op(JMP_JEQ, 1, 0, AUDIT_ARCH_X86_64);
    p.ret(RET_KILL_PROCESS);
    p.load(0);
    p.op(JMP_JGE, 0, 1, X32_BIT);
    p.ret(RET_ERRNO | libc::ENOSYS as u32);
    let guarded: &[i64] = match kind {
        Kind::Case | Kind::Agent | Kind::Container => &[libc::SYS_mount, libc::SYS_umount2],
        Kind::Oracle => &[
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_setns,
            libc::SYS_unshare,
            libc::SYS_ptrace,
        ],
    };
    for n in REFUSED {
        let allowed = match kind {
            Kind::Agent => *n == libc::SYS_ptrace,
            Kind::Container => CONTAINED.contains(n),
            Kind::Case | Kind::Oracle => false,
        };
        if !allowed && !guarded.contains(n) {
            p.deny(*n, eperm);
        }
    }
    for n in ABSENT.iter().filter(|n| kind != Kind::Container || !CONTAINED.contains(n)) {
        p.deny(*n, RET_ERRNO | libc::ENOSYS as u32);
    }
    p.when(libc::SYS_clone, |p| {
        p.load(arg_low(0));
        p.op(JMP_JSET, 0, 1, NEW_NAMESPACES);
        p.ret(eperm);
        p.ret(RET_ALLOW);
    });
    for n in guarded {
        p.when(*n, |p| {
            p.load(arg_low(5));
            p.op(JMP_JEQ, 1, 0, cookie as u32);
            p.ret(eperm);
            p.load(arg_low(5) + 4);
            p.op(JMP_JEQ, 1, 0, (cookie >> 32) as u32);
            p.ret(eperm);
            p.ret(RET_ALLOW);
        });
    }
    if matches!(kind, Kind::Agent | Kind::Oracle) {
        tell_tale_signals(&mut p, eperm);
    }
    // Another process's limits, the zygote's above all.
    p.when(libc::SYS_prlimit64, |p| {
        p.load(arg_low(0));
        p.op(JMP_JEQ, 1, 0, 0);
        p.ret(eperm);
        p.ret(RET_ALLOW);
    });
    p.when(libc::SYS_ioctl, |p| {
        p.load(arg_low(1));
        for request in [libc::TIOCSTI as u32, TIOCLINUX] {
            p.op(JMP_JEQ, 0, 1, request);
            p.ret(eperm);
        }
        p.ret(RET_ALLOW);
    });
    p.when(libc::SYS_socket, |p| {
        p.load(arg_low(0));
        for family in FAMILIES {
            p.op(JMP_JEQ, 0, 1, *family as u32);
            p.ret(RET_ALLOW);
        }
        p.ret(RET_ERRNO | libc::EAFNOSUPPORT as u32);
    });
    p.ret(RET_ALLOW);
    p.0.concat()
}

/// SIGILL and SIGFPE may not be sent: upon these, Go programs print the machine code at which they are, and a reference may be
/// one (`runtime.printpanics`, "instruction bytes"). A program's own faults still raise them.
fn tell_tale_signals(p: &mut Program, eperm: u32) {
    const F_SETSIG: u32 = 10;
    let signals = [libc::SIGILL as u32, libc::SIGFPE as u32];
    for (n, argument) in [
        (libc::SYS_kill, 1),
        (libc::SYS_tkill, 1),
        (libc::SYS_tgkill, 2),
        (libc::SYS_rt_sigqueueinfo, 1),
        (libc::SYS_rt_tgsigqueueinfo, 2),
        (libc::SYS_pidfd_send_signal, 1),
    ] {
        p.when(n, |p| {
            p.load(arg_low(argument));
            for signal in signals {
                p.op(JMP_JEQ, 0, 1, signal);
                p.ret(eperm);
            }
            p.ret(RET_ALLOW);
        });
    }
    p.when(libc::SYS_fcntl, |p| {
        p.load(arg_low(1));
        p.op(JMP_JEQ, 1, 0, F_SETSIG);
        p.ret(RET_ALLOW);
        p.load(arg_low(2));
        for signal in signals {
            p.op(JMP_JEQ, 0, 1, signal);
            p.ret(eperm);
        }
        p.ret(RET_ALLOW);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A BPF machine, just large enough for what [`program`] uses.
    fn evaluate(program: &[u8], nr: i64, arch: u32, args: [u64; 6]) -> u32 {
        let mut data = Vec::new();
        data.extend((nr as u32).to_le_bytes());
        data.extend(arch.to_le_bytes());
        data.extend(0u64.to_le_bytes());
        args.iter().for_each(|a| data.extend(a.to_le_bytes()));
        let (mut pc, mut acc) = (0usize, 0u32);
        loop {
            let op = &program[pc * 8..pc * 8 + 8];
            let k = u32::from_le_bytes(op[4..].try_into().unwrap());
            let (jt, jf) = (usize::from(op[2]), usize::from(op[3]));
            let jump = |hit: bool| pc + 1 + if hit { jt } else { jf };
            pc = match u16::from_le_bytes(op[..2].try_into().unwrap()) {
                LD_W_ABS => {
                    acc = u32::from_le_bytes(data[k as usize..k as usize + 4].try_into().unwrap());
                    pc + 1
                }
                JMP_JEQ => jump(acc == k),
                JMP_JGE => jump(acc >= k),
                JMP_JSET => jump(acc & k != 0),
                RET => return k,
                other => panic!("unknown instruction {other:#x}"),
            };
        }
    }

    #[test]
    fn only_the_broker_may_change_namespaces_and_only_agents_may_trace() {
        let cookie = 0x1234_5678_9abc_def0;
        let eperm = RET_ERRNO | libc::EPERM as u32;
        let of = |kind, nr, args| evaluate(&program(kind, cookie), nr, AUDIT_ARCH_X86_64, args);
        let with = [0, 0, 0, 0, 0, cookie];
        for nr in [libc::SYS_setns, libc::SYS_unshare, libc::SYS_ptrace] {
            assert_eq!(of(Kind::Oracle, nr, with), RET_ALLOW);
            assert_eq!(of(Kind::Oracle, nr, [0; 6]), eperm);
            let agent = if nr == libc::SYS_ptrace { RET_ALLOW } else { eperm };
            assert_eq!(of(Kind::Agent, nr, with), agent);
            assert_eq!(of(Kind::Case, nr, with), eperm);
        }
        assert_eq!(of(Kind::Agent, libc::SYS_ptrace, [0; 6]), RET_ALLOW);
        for kind in [Kind::Case, Kind::Agent, Kind::Oracle] {
            for nr in [libc::SYS_process_vm_readv, libc::SYS_kcmp, libc::SYS_pidfd_getfd] {
                assert_eq!(of(kind, nr, [0; 6]), eperm);
            }
            assert_eq!(of(kind, libc::SYS_io_uring_setup, [0; 6]) & 0xffff, libc::ENOSYS as u32);
            assert_eq!(of(kind, libc::SYS_clone, [0x1000_0000, 0, 0, 0, 0, 0]), eperm);
        }
    }

    #[test]
    fn signals_that_make_go_programs_print_their_code_cannot_be_sent() {
        let eperm = RET_ERRNO | libc::EPERM as u32;
        for kind in [Kind::Agent, Kind::Oracle] {
            let of = |nr, args| evaluate(&program(kind, 7), nr, AUDIT_ARCH_X86_64, args);
            for signal in [libc::SIGILL as u64, libc::SIGFPE as u64] {
                assert_eq!(of(libc::SYS_kill, [5, signal, 0, 0, 0, 0]), eperm);
                assert_eq!(of(libc::SYS_tgkill, [5, 5, signal, 0, 0, 0]), eperm);
                assert_eq!(of(libc::SYS_pidfd_send_signal, [3, signal, 0, 0, 0, 0]), eperm);
                assert_eq!(of(libc::SYS_fcntl, [3, 10, signal, 0, 0, 0]), eperm);
                assert_eq!(of(libc::SYS_fcntl, [3, 1, signal, 0, 0, 0]), RET_ALLOW);
            }
            assert_eq!(of(libc::SYS_kill, [5, libc::SIGTERM as u64, 0, 0, 0, 0]), RET_ALLOW);
            assert_eq!(of(libc::SYS_fcntl, [3, 10, libc::SIGIO as u64, 0, 0, 0]), RET_ALLOW);
        }
        let case = program(Kind::Case, 7);
        let kill = [5, libc::SIGILL as u64, 0, 0, 0, 0];
        assert_eq!(evaluate(&case, libc::SYS_kill, AUDIT_ARCH_X86_64, kill), RET_ALLOW);
    }

    #[test]
    fn refuses_what_it_should_and_nothing_else() {
        let cookie = 0x1234_5678_9abc_def0;
        let p = program(Kind::Case, cookie);
        let eval = |nr, args| evaluate(&p, nr, AUDIT_ARCH_X86_64, args);
        let eperm = RET_ERRNO | libc::EPERM as u32;
        assert_eq!(eval(libc::SYS_read, [0; 6]), RET_ALLOW);
        assert_eq!(eval(libc::SYS_ptrace, [0; 6]), eperm);
        assert_eq!(eval(libc::SYS_clone, [0x1000_0000, 0, 0, 0, 0, 0]), eperm);
        assert_eq!(eval(libc::SYS_clone, [0x4111, 0, 0, 0, 0, 0]), RET_ALLOW);
        assert_eq!(eval(libc::SYS_mount, [0; 6]), eperm);
        assert_eq!(eval(libc::SYS_mount, [0, 0, 0, 0, 0, cookie]), RET_ALLOW);
        assert_eq!(eval(libc::SYS_umount2, [0, 0, 0, 0, 0, cookie ^ (1 << 40)]), eperm);
        assert_eq!(eval(libc::SYS_prlimit64, [0; 6]), RET_ALLOW);
        assert_eq!(eval(libc::SYS_prlimit64, [1, 0, 0, 0, 0, 0]), eperm);
        assert_eq!(eval(libc::SYS_ioctl, [0, libc::TIOCSTI, 0, 0, 0, 0]), eperm);
        assert_eq!(eval(libc::SYS_ioctl, [0, libc::TIOCGWINSZ, 0, 0, 0, 0]), RET_ALLOW);
        assert_eq!(
            eval(libc::SYS_socket, [libc::AF_VSOCK as u64, 0, 0, 0, 0, 0]) & 0xffff,
            libc::EAFNOSUPPORT as u32
        );
        assert_eq!(eval(libc::SYS_socket, [libc::AF_UNIX as u64, 0, 0, 0, 0, 0]), RET_ALLOW);
        assert_eq!(evaluate(&p, libc::SYS_read, 0x4000_0003, [0; 6]), RET_KILL_PROCESS);
        assert_eq!(eval(i64::from(X32_BIT), [0; 6]) & 0xffff, libc::ENOSYS as u32);
    }
}
