//! Environment variables that a reference never sees: they would make its loader or its runtime load code, or write files
//! that it does not write by itself.

/// Prefixes of `NAME=value`; those with `=` name one variable.
const REFUSED: &[&[u8]] = &[
    // The dynamic loader and the C library (ld.so(8); glibc's and musl's sources).
    b"LD_",
    b"GLIBC_TUNABLES=",
    b"GCONV_PATH=",
    b"GETCONF_DIR=",
    b"LOCPATH=",
    b"NLSPATH=",
    b"MALLOC_",
    b"RESOLV_",
    b"RES_OPTIONS=",
    b"HOSTALIASES=",
    b"LOCALDOMAIN=",
    b"NIS_PATH=",
    b"MUSL_LOCPATH=",
    // Coverage and sanitizer runtimes write files where these say.
    b"GOCOVERDIR=",
    b"LLVM_PROFILE_FILE=",
    b"GCOV_",
    b"ASAN_OPTIONS=",
    b"LSAN_OPTIONS=",
    b"MSAN_OPTIONS=",
    b"TSAN_OPTIONS=",
    b"UBSAN_OPTIONS=",
];

/// Whether a variable is kept from the reference.
pub fn is_refused(variable: &[u8]) -> bool {
    REFUSED.iter().any(|prefix| variable.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::is_refused;

    #[test]
    fn loaders_get_no_orders_and_programs_keep_theirs() {
        for bad in [
            &b"LD_PRELOAD=/tmp/x.so"[..],
            b"LD_AUDIT=x",
            b"LD_LIBRARY_PATH=",
            b"LD_DEBUG=all",
            b"GLIBC_TUNABLES=glibc.rtld.optional_static_tls=1",
            b"GCONV_PATH=/tmp",
            b"MALLOC_TRACE=/tmp/t",
            b"LLVM_PROFILE_FILE=/tmp/p",
            b"LD_",
        ] {
            assert!(is_refused(bad), "{bad:?}");
        }
        for good in
            [&b"PATH=/bin"[..], b"LC_ALL=C", b"LDFLAGS=-s", b"TZ=UTC", b"OLD_X=1", b"", b"=", b"LD"]
        {
            assert!(!is_refused(good), "{good:?}");
        }
    }
}
