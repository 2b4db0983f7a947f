use super::*;
use proptest::prelude::*;

fn read(text: &str) -> Result<Junit, JunitError> {
    parse(text, &Limits::default())
}

fn statuses(text: &str) -> Vec<(String, Status)> {
    read(text).unwrap().cases.into_iter().map(|c| (c.name, c.status)).collect()
}

#[test]
fn what_pytest_writes_is_read() {
    let junit = read(
        r#"<?xml version="1.0" encoding="utf-8"?><testsuites name="pytest tests"><testsuite name="pytest" tests="4">
        <testcase classname="eval.tests.t" name="test_a[x]" time="0.250" />
        <testcase classname="eval.tests.t" name="test_b" time="1,000.5"><failure message="a&#10;b">line 1
line &lt;2&gt;<![CDATA[ & 3]]></failure></testcase>
        <testcase classname="" name="test_c"><skipped type="pytest.skip" message=""/></testcase>
        <testcase name="test_d"><error message="no"/><system-out>noise</system-out></testcase>
        <testcase classname="lost"/><testcase/></testsuite></testsuites>"#,
    )
    .unwrap();
    let got: Vec<_> = junit.cases.iter().map(|c| (c.name.as_str(), c.status)).collect();
    assert_eq!(
        got,
        [
            ("eval.tests.t.test_a[x]", Status::Passed),
            ("eval.tests.t.test_b", Status::Failure),
            ("test_c", Status::Skipped),
            ("test_d", Status::Error),
            ("lost.None", Status::Passed),
        ]
    );
    let b = &junit.cases[1].extra;
    assert_eq!((b.time, b.message.as_deref()), (Some(1000.5), Some("a\nb")));
    assert_eq!(b.text.as_deref(), Some("line 1\nline <2> & 3"));
    assert_eq!(junit.cases[2].extra.message, None);
    assert_eq!((junit.testcases, junit.worker_crashes), (6, 0));
}

#[test]
fn results_of_one_kind_count_once_and_of_several_kinds_are_an_error_of_the_suite() {
    let junit = read(
        r#"<testsuite><testcase name="a"><error message="1"/><error message="2"/></testcase>
        <testcase name="b"><failure message="x" type="T"/><error/></testcase>
        <testcase name="c"><system-out><failure message="deep">t<b/>u</failure></system-out></testcase></testsuite>"#,
    )
    .unwrap();
    let [a, b, c] = &junit.cases[..] else { panic!("{junit:?}") };
    assert_eq!((a.status, a.extra.message.as_deref()), (Status::Error, Some("1")));
    assert_eq!(b.status, Status::SystemError);
    assert_eq!(
        b.extra.error_details.as_deref(),
        Some(
            r#"Expected 1 result for b, got 2: [<Element 'failure' message="x" type="T">, <Element 'error'>]"#
        )
    );
    assert_eq!((c.status, c.extra.text.as_deref()), (Status::Failure, Some("t")));
}

#[test]
fn a_result_within_many_cases_is_kept_once() {
    const CASES: usize = 60;
    let open: String = (0..CASES).map(|i| format!("<testcase name='{i}'>")).collect();
    let text = "worker 'gw0' crashed ".repeat(1 << 20);
    let end = "</testcase>".repeat(CASES);
    let text = format!("<testsuite>{open}<failure>{text}</failure>{end}</testsuite>");
    let junit = read(&text).unwrap();
    assert_eq!((junit.testcases, junit.worker_crashes, junit.cases.len()), (CASES, 1, 1));
    assert_eq!((junit.cases[0].name.as_str(), junit.cases[0].status), ("0", Status::Failure));
    assert!(junit.cases[0].extra.text.as_ref().unwrap().len() > 20 << 20);
    // With a copy for each it was 1.2 GiB and more.
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 700 << 10, "{peak} KiB");
}

#[test]
fn suites_in_suites_come_after_the_suites_own_cases() {
    let text = r#"<testsuites><testcase name="ignored"/><testsuite><testsuite><testcase name="2"/></testsuite>
        <testcase name="1"/><x><testcase name="ignored too"/></x></testsuite><testsuite><testcase name="3"/></testsuite></testsuites>"#;
    let names: Vec<_> = statuses(text).into_iter().map(|(n, _)| n).collect();
    assert_eq!(names, ["1", "2", "3"]);
    assert_eq!(read(text).unwrap().testcases, 5);
}

#[test]
fn names_in_a_namespace_match_nothing() {
    assert_eq!(
        statuses(r#"<testsuite><testcase xmlns="u" name="a"/><testcase name="b"/></testsuite>"#)
            .len(),
        1
    );
    assert!(read(r#"<testsuites xmlns="u"><testsuite/></testsuites>"#).is_err());
}

#[test]
fn crashed_workers_are_counted() {
    let junit = read(
        r#"<testsuites><testsuite><testcase name="a"><error message="failed on setup with &quot;worker 'gw0' crashed while running x&quot;"/></testcase>
        <testcase name="b"><failure>worker 'gw1' crashed</failure><failure>worker 'gw1' crashed</failure></testcase>
        <testcase name="c"><skipped>worker 'gw1' crashed</skipped></testcase>
        <testcase name="d"><x><error>worker 'gw1' crashed</error></x></testcase></testsuite></testsuites>"#,
    )
    .unwrap();
    assert_eq!((junit.worker_crashes, junit.testcases), (2, 4));
}

#[test]
fn what_is_no_result_is_refused() {
    assert_eq!(read(" \n"), Err(JunitError::Empty));
    for bad in [
        "x",
        "<testsuites>",
        "<testsuites></testsuite>",
        "<testsuites/><testsuites/>",
        "<testsuites/>x",
        "<html/>",
        "<testsuites a='1' a='2'/>",
        "<testsuites><testsuite>&nope;</testsuite></testsuites>",
        "<testsuites><testsuite>&#1;</testsuite></testsuites>",
        "<testsuites><testsuite x='&#0;'/></testsuites>",
        "<testsuites>\u{1}</testsuites>",
        "<testsuite><testcase name='a' time='soon'/></testsuite>",
        "<!DOCTYPE t [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;&a;'>]><testsuites>&b;</testsuites>",
        "<!DOCTYPE t SYSTEM 'file:///etc/passwd'><testsuites/>",
    ] {
        assert!(matches!(read(bad), Err(JunitError::Malformed { .. })), "{bad:?}: {:?}", read(bad));
    }
}

#[test]
fn every_limit_holds() {
    let small = Limits { bytes: 4000, depth: 5, cases: 3, attribute: 10 };
    let what = |text: &str| match parse(text, &small) {
        Err(JunitError::TooLarge { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(what(&" ".repeat(4001)), "bytes");
    assert_eq!(what("<testsuites><a><a><a><a><a>"), "elements within each other");
    assert_eq!(what(&format!("<testsuite>{}", "<testcase/>".repeat(4))), "test cases");
    assert_eq!(what("<testsuites name='12345678901'/>"), "bytes in an attribute");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\n', "&#10;")
        .replace('\t', "&#9;")
        .replace('\r', "&#13;")
}

prop_compose! {
    fn any_case()(
        class in "[a-z.é]{0,6}", name in "[ -~é\n\t]{1,12}", time in prop::option::of(0u32..100_000),
        result in prop::option::of((0usize..3, "[ -~\n]{0,9}", "[ -~\n\tü]{0,20}")),
    ) -> (String, Case) {
        let tags = [("failure", Status::Failure), ("error", Status::Error), ("skipped", Status::Skipped)];
        let seconds = time.map(|t| f64::from(t) / 1000.0);
        let mut xml = format!(r#"<testcase classname="{}" name="{}""#, escape(&class), escape(&name));
        if let Some(seconds) = seconds { xml += &format!(r#" time="{seconds:.3}""#); }
        let mut extra = Extra { time: seconds, ..Extra::default() };
        let mut status = Status::Passed;
        match result {
            None => xml += "/>",
            Some((kind, message, text)) => {
                let tag = tags[kind].0;
                xml += &format!(r#"><{tag} message="{}">{}</{tag}></testcase>"#, escape(&message), escape(&text));
                status = tags[kind].1;
                extra.message = Some(message).filter(|m| !m.is_empty());
                extra.text = Some(text).filter(|t| !t.is_empty());
            }
        }
        let name = if class.is_empty() { name } else { format!("{class}.{name}") };
        (xml, Case { name, status, extra })
    }
}

proptest! {
    #[test]
    fn what_was_written_is_read(cases in prop::collection::vec(any_case(), 0..12), bare in any::<bool>()) {
        let body: String = cases.iter().map(|(x, _)| x.as_str()).collect();
        let suite = format!("<testsuite name=\"p\">{body}</testsuite>");
        let text = if bare { suite } else { format!("<?xml version=\"1.0\"?>\n<testsuites>{suite}</testsuites>\n") };
        let got = read(&text).unwrap();
        prop_assert_eq!(got.testcases, cases.len());
        prop_assert_eq!(got.cases, cases.into_iter().map(|(_, c)| c).collect::<Vec<_>>());
    }

    #[test]
    fn nothing_makes_it_panic(text in "[<>/a-c&;\"'= !\\-\\[\\]?]{0,60}|<testsuite>[<>/a-z&;#0-9\"'= ]{0,60}</testsuite>") {
        let _ = read(&text);
    }
}
