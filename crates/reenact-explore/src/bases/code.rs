//! Languages that the reference speaks, and bases that hand code over.

use crate::bases::trials::{Trial, content};
use crate::error::ExploreError;
use crate::inputs::languages::{Form, LANGUAGES, Language};
use crate::lab::{Circumstances, Lab};
use crate::maker::{Base, Maker};
use fastrand::Rng;
use reenact_model::Ended;

/// A base that hands `code` over in this form, with `data` on standard input where the language reads data.
pub fn code_base(language: &Language, form: Form, code: &str, data: Option<Vec<u8>>) -> Base {
    let script = format!("script.{}", language.extension);
    let mut base = Base { stdin: data, ..Base::default() };
    match form {
        Form::Argument => base.operands = vec![code.to_owned()],
        Form::Option(option) => base.operands = vec![option.to_owned(), code.to_owned()],
        Form::Database => base.operands = vec![":memory:".to_owned(), code.to_owned()],
        Form::Stdin => base.stdin = Some(format!("{code}\n").into_bytes()),
        Form::File => base.operands = vec![script.clone()],
        Form::FileOption(option) => base.operands = vec![option.to_owned(), script.clone()],
    }
    if matches!(form, Form::File | Form::FileOption(_)) {
        base.files.insert(script, format!("{code}\n").into_bytes());
    }
    base
}

/// Which languages the reference speaks: each is asked to print 42 in every form.
pub(crate) fn find_languages(
    lab: &Lab<'_>,
) -> Result<Vec<(&'static Language, Vec<Form>)>, ExploreError> {
    let mut maker = Maker::new(0);
    let mut asked = Vec::new();
    for language in LANGUAGES {
        for form in language.forms {
            let data = (!language.probe_input.is_empty())
                .then(|| language.probe_input.as_bytes().to_vec());
            let base = code_base(language, *form, language.probe, data);
            asked.extend(maker.add("probe", &base, &[], &[]).map(|at| (language, *form, at)));
        }
    }
    let seen = lab.observe(
        &maker.cases.iter().collect::<Vec<_>>(),
        &maker.blobs,
        &Circumstances::default(),
        None,
    )?;
    let answered = |at: usize| {
        let step = seen[at].ran().and_then(|s| s.steps.first());
        step.is_some_and(|s| {
            s.ended == (Ended::Exit { code: 0 }) && s.stdout.inline_bytes().trim_ascii() == b"42"
        })
    };
    let mut found: Vec<(&'static Language, Vec<Form>)> = Vec::new();
    for (language, form, at) in asked {
        if answered(at) {
            match found.iter_mut().find(|(l, _)| l.name == language.name) {
                Some((_, forms)) => forms.push(form),
                None => found.push((language, vec![form])),
            }
        }
    }
    found.truncate(2);
    Ok(found)
}

pub(crate) fn language_trials(
    languages: &[(&'static Language, Vec<Form>)],
    rng: &mut Rng,
) -> Vec<Trial> {
    let mut trials = Vec::new();
    for (language, forms) in languages {
        for (i, template) in language.templates.iter().take(30).enumerate() {
            let kind = (!language.data.is_empty()).then(|| language.data[i % language.data.len()]);
            let data = kind.map(|k| content(k, rng));
            let code = language.program(template, rng);
            trials.push(Trial {
                base: code_base(language, forms[i % forms.len()], &code, data),
                kind,
            });
        }
    }
    trials
}
