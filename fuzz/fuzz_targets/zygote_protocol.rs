//! Frames and payloads between host and zygote. A hostile peer gets a refusal, never a wild read; what is decoded encodes
//! to the same bytes; what is encoded decodes to the same values.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use reenact_zygote::proto::{
    EntryHead, HEADER, MAX_FRAME, Ran, Reader, RunRequest, Sink, StrList, re, split_frame,
};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    ran: ([u8; 1], i32, i32, [u64; 4], u32, [u64; 2]),
    entry: (u8, u32, u64, u64),
    a: &'a [u8],
    b: &'a [u8],
    wire: &'a [u8],
}

struct Out(Vec<u8>);

impl Sink for Out {
    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

fuzz_target!(|data: &[u8]| {
    // Seeds are plain wire bytes; the same bytes are also read as values to encode.
    stream(data);
    payload(data);
    if let Ok(input) = Input::arbitrary_take_rest(arbitrary::Unstructured::new(data)) {
        encode(&input);
        stream(input.wire);
    }
});

fn within(outer: &[u8], inner: &[u8]) -> bool {
    let (o, i) = (outer.as_ptr_range(), inner.as_ptr_range());
    inner.is_empty() || (o.start <= i.start && i.end <= o.end)
}

/// Frame after frame, as both ends read them.
fn stream(mut bytes: &[u8]) {
    loop {
        match split_frame(bytes) {
            Ok(Some((_, body, used))) => {
                assert!(used <= bytes.len(), "used {used} of {}", bytes.len());
                assert_eq!(used, HEADER + body.len());
                assert!(within(&bytes[..used], body));
                payload(body);
                bytes = &bytes[used..];
            }
            Ok(None) => {
                let claimed = Reader::new(bytes).u32().map_or(usize::MAX, |n| 4 + n as usize);
                return assert!(claimed > bytes.len(), "a complete frame was held back");
            }
            Err(()) => {
                let claimed = Reader::new(bytes).u32().map(|n| n as usize);
                return assert!(claimed.is_some_and(|n| n == 0 || n > MAX_FRAME), "{claimed:?}");
            }
        }
    }
}

fn payload(bytes: &[u8]) {
    let r = &mut Reader::new(bytes);
    if let Some(list) = StrList::read(r) {
        check_list(bytes, list);
    }
    if let Some(request) = RunRequest::decode(bytes) {
        check_list(bytes, request.argv);
        check_list(bytes, request.env);
        assert!(within(bytes, request.stdin));
        assert_eq!(encode_request(&request), bytes);
    }
    if let Some(ran) = Ran::decode(bytes) {
        assert_eq!(encode_ran(&ran), bytes);
    }
    if let Some(head) = EntryHead::decode(bytes) {
        let mut out = Out(Vec::new());
        head.encode_frame(&mut out);
        assert_eq!(split_frame(&out.0), Ok(Some((re::ENTRY, bytes, out.0.len()))));
    }
}

fn check_list(outer: &[u8], list: StrList<'_>) {
    assert_eq!(list.iter().count(), list.count as usize, "a validated list is complete");
    for text in list.iter() {
        assert!(within(outer, text));
        assert_eq!(text.iter().position(|b| *b == 0), Some(text.len() - 1), "one NUL, last");
    }
}

fn encode_request(request: &RunRequest<'_>) -> Vec<u8> {
    let mut out = Out(Vec::new());
    out.u32(request.flags);
    out.u64(request.wall_ms);
    out.u32(request.cpu_sec);
    out.u64(request.output_bytes);
    out.u64(request.poll_memory);
    for n in [request.skip_pids, request.stdin_chunk, request.rows, request.cols] {
        out.u32(n);
    }
    out.blob(request.program);
    out.blob(request.cwd);
    for list in [request.argv, request.env] {
        out.u32(list.count);
        list.iter().for_each(|text| out.cstr(&text[..text.len() - 1]));
    }
    out.blob(request.stdin);
    out.0
}

fn encode_ran(ran: &Ran<'_>) -> Vec<u8> {
    let mut out = Out(Vec::new());
    ran.encode_head(&mut out);
    assert_eq!(out.0.len(), Ran::HEAD);
    out.blob(ran.stdout);
    out.blob(ran.stderr);
    out.0
}

fn encode(input: &Input<'_>) {
    let ([cause], status, errno, times, leftovers, lens) = input.ran;
    let ran = Ran {
        cause,
        status,
        errno,
        wall_us: times[0],
        user_us: times[1],
        sys_us: times[2],
        max_rss_kib: times[3],
        leftovers,
        stdout_len: lens[0],
        stderr_len: lens[1],
        stdout: input.a,
        stderr: input.b,
    };
    let bytes = encode_ran(&ran);
    assert_eq!(Ran::decode(&bytes), Some(ran));
    assert_eq!(Ran::decode(&bytes[..bytes.len() - 1]), None, "a cut payload is refused");

    let (kind, mode, size, content) = input.entry;
    let head = EntryHead { kind, mode, size, path: input.a, target: input.b, content };
    let mut out = Out(Vec::new());
    head.encode_frame(&mut out);
    let frame_len = out.0.len();
    out.put(input.wire);
    match split_frame(&out.0) {
        Ok(Some((re::ENTRY, body, used))) => {
            assert_eq!(used, frame_len, "the frame ends where the next begins");
            assert_eq!(EntryHead::decode(body), Some(head));
        }
        other => panic!("an encoded frame cannot be split: {other:?}"),
    }
    assert_eq!(split_frame(&out.0[..frame_len - 1]), Ok(None));
}
