//! The set-up plan of a cell: one kernel call a step, each with a name for errors, in a straight line.

use reenact_zygote::proto::{Sink, step};
use std::path::Path;

/// Steps in wire form, and what each one is called.
#[derive(Default)]
pub struct Plan {
    bytes: Vec<u8>,
    names: Vec<String>,
    broker_names: Vec<String>,
}

struct Bytes<'a>(&'a mut Vec<u8>);

impl Sink for Bytes<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

/// Mount attributes for [`Plan::setattr`] (`mount_setattr(2)`).
pub const ATTR_RDONLY: u64 = 1;
pub const ATTR_NOSUID: u64 = 2;
pub const ATTR_NODEV: u64 = 4;

impl Plan {
    fn step(&mut self, name: impl Into<String>, kind: u8) -> Bytes<'_> {
        self.names.push(name.into());
        let mut out = Bytes(&mut self.bytes);
        out.u8(kind);
        out
    }

    pub fn unshare(&mut self, name: &str, flags: libc::c_int) {
        self.step(name, step::UNSHARE).u32(flags as u32);
    }

    pub fn fork(&mut self) {
        self.step("fork into the new pid namespace", step::FORK);
    }

    pub fn hostname(&mut self, name: &str) {
        self.step("set the host name", step::HOSTNAME).blob(name.as_bytes());
    }

    pub fn write_file(&mut self, path: &str, data: &[u8], mode: u32) {
        let mut s = self.step(format!("write {path}"), step::WRITE_FILE);
        s.cstr(path.as_bytes());
        s.blob(data);
        s.u32(mode);
    }

    pub fn mount(
        &mut self,
        what: &str,
        source: &Path,
        target: &str,
        fstype: &str,
        flags: libc::c_ulong,
        data: &str,
    ) {
        let mut s = self.step(format!("mount {what}"), step::MOUNT);
        s.cstr(source.as_os_str().as_encoded_bytes());
        s.cstr(target.as_bytes());
        s.cstr(fstype.as_bytes());
        s.u64(flags);
        s.cstr(data.as_bytes());
    }

    pub fn mkdir(&mut self, path: &str, mode: u32) {
        let mut s = self.step(format!("create directory {path}"), step::MKDIR);
        s.cstr(path.as_bytes());
        s.u32(mode);
    }

    pub fn mkfile(&mut self, path: &str, mode: u32) {
        let mut s = self.step(format!("create file {path}"), step::MKFILE);
        s.cstr(path.as_bytes());
        s.u32(mode);
    }

    pub fn symlink(&mut self, target: &[u8], path: &str) {
        let mut s = self.step(format!("create symlink {path}"), step::SYMLINK);
        s.cstr(target);
        s.cstr(path.as_bytes());
    }

    pub fn chown(&mut self, path: &str, uid: u32, gid: u32) {
        let mut s = self.step(format!("change the owner of {path}"), step::CHOWN);
        s.cstr(path.as_bytes());
        s.u32(uid);
        s.u32(gid);
    }

    pub fn setattr(&mut self, path: &str, recursive: bool, set: u64) {
        let mut s = self.step(format!("make {path} read-only"), step::SETATTR);
        s.cstr(path.as_bytes());
        s.u8(u8::from(recursive));
        s.u64(set);
    }

    pub fn pivot(&mut self, root: &str) {
        self.step("pivot_root", step::PIVOT).cstr(root.as_bytes());
    }

    pub fn drop_bounding(&mut self, keep: u64) {
        self.step("drop capabilities from the bounding set", step::DROP_BOUNDING).u64(keep);
    }

    pub fn capabilities(&mut self, keep: u64) {
        self.step("let go of capabilities", step::CAPABILITIES).u64(keep);
    }

    pub fn no_new_privs(&mut self) {
        self.step("set no_new_privs", step::NO_NEW_PRIVS);
    }

    pub fn not_dumpable(&mut self) {
        self.step("make the zygote undumpable", step::NOT_DUMPABLE);
    }

    pub fn seccomp(&mut self, cookie: u64, program: &[u8]) {
        let mut s = self.step("install the seccomp filter", step::SECCOMP);
        s.u64(cookie);
        s.blob(program);
    }

    /// `place` is where each fresh tmpfs is mounted for a moment; `roots` are (name, mode, target).
    pub fn workspace(
        &mut self,
        uid: u32,
        gid: u32,
        place: &str,
        options: &str,
        roots: [(&str, u32, &str); 4],
    ) {
        let mut s = self.step("mount the workspace", step::WORKSPACE);
        s.u32(uid);
        s.u32(gid);
        s.cstr(place.as_bytes());
        s.cstr(options.as_bytes());
        for (name, mode, target) in roots {
            s.u32(mode);
            s.cstr(name.as_bytes());
            s.cstr(target.as_bytes());
        }
    }

    pub fn child(&mut self, child: &ChildPlan) {
        let mut s = self.step("configure children", step::CHILD);
        s.u32(child.uid);
        s.u32(child.gid);
        s.u8(u8::from(child.set_ids));
        s.u8(u8::from(child.set_groups));
        s.u8(child.oom);
        s.u32(child.rlimits.len() as u32);
        for (resource, soft, hard) in &child.rlimits {
            s.u32(*resource);
            s.u64(*soft);
            s.u64(*hard);
        }
    }

    pub fn chmod(&mut self, path: &str, mode: u32) {
        let mut s = self.step(format!("change the mode of {path}"), step::CHMOD);
        s.cstr(path.as_bytes());
        s.u32(mode);
    }

    pub fn umount(&mut self, path: &str, flags: libc::c_int) {
        let mut s = self.step(format!("unmount {path}"), step::UMOUNT);
        s.cstr(path.as_bytes());
        s.u32(flags as u32);
    }

    pub fn loopback(&mut self) {
        self.step("bring the loopback interface up", step::LOOPBACK);
    }

    /// Forks the broker, which performs `plan` once pid 1 reaches [`Plan::meet`].
    pub fn broker(&mut self, plan: Plan) {
        self.step("fork the oracle's broker", step::BROKER).blob(&plan.bytes);
        self.broker_names = plan.names;
    }

    pub fn meet(&mut self) {
        self.step("start the oracle", step::MEET);
    }

    pub fn room(&mut self) {
        self.step("serve as a room", step::ROOM);
    }

    pub fn copy(&mut self, from: &Path, to: &str, mode: u32) {
        let mut s = self.step(format!("copy {}", from.display()), step::COPY);
        s.cstr(from.as_os_str().as_encoded_bytes());
        s.cstr(to.as_bytes());
        s.u32(mode);
    }

    pub fn setxattr(&mut self, path: &str, name: &str, value: &[u8]) {
        let mut s = self.step(format!("set {name} of {path}"), step::SETXATTR);
        s.cstr(path.as_bytes());
        s.cstr(name.as_bytes());
        s.blob(value);
    }

    pub fn reference(&mut self, path: &str) {
        self.step("open the reference", step::REFERENCE).cstr(path.as_bytes());
    }

    pub fn pid_ns(&mut self, path: &str) {
        self.step("open the pid namespace", step::PID_NS).cstr(path.as_bytes());
    }

    pub fn hide(&mut self, paths: &[u8]) {
        self.step("note the private libraries", step::HIDE).blob(paths);
    }

    pub fn serve(&mut self, own_terminal: bool) {
        self.step("listen for callers", step::SERVE).u8(u8::from(own_terminal));
    }

    /// The wire form.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What failed: the name of step `index`, or, if that is [`Plan::meet`], of the broker's step, and the errno.
    pub fn failure(&self, index: u32, errno: u32) -> (String, i32) {
        let name = self.name(index);
        // See the zygote's `setup::meet`.
        let inner = (errno >> 16) as usize;
        match inner.checked_sub(1).and_then(|i| self.broker_names.get(i)) {
            Some(step) => (format!("{name}: {step}"), (errno & 0xffff) as i32),
            None => (name, (errno & 0xffff) as i32),
        }
    }

    /// The name of step `index`.
    pub fn name(&self, index: u32) -> String {
        self.names.get(index as usize).cloned().unwrap_or_else(|| format!("step {index}"))
    }
}

/// What every child gets.
pub struct ChildPlan {
    pub uid: u32,
    pub gid: u32,
    pub set_ids: bool,
    pub set_groups: bool,
    /// See `reenact_zygote::proto::oom`.
    pub oom: u8,
    /// (resource, soft, hard)
    pub rlimits: Vec<(u32, u64, u64)>,
}
