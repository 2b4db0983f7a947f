//! Programs in the reference's own language: templates of the language, and fragments that the documentation quotes.

use crate::bases::{code_base, content};
use crate::generate::Workshop;
use crate::inputs::languages::{Form, Language};
use crate::maker::Base;

/// Fills the group for each language that the reference speaks.
pub fn add(shop: &mut Workshop<'_>) {
    let mut rng = shop.rng("programs");
    let languages = shop.bases.languages.clone();
    for (language, forms) in &languages {
        let enough = shop.maker.cases.len() + (shop.wanted * 2 / 3).max(60);
        for round in 0..6 {
            for (i, template) in language.templates.iter().enumerate() {
                if shop.maker.cases.len() >= enough {
                    break;
                }
                let code = language.program(template, &mut rng);
                let form = forms[(i + round) % forms.len()];
                let base = base_for(language, form, &code, i + round, &mut rng);
                shop.maker.add("programs", &base, &[], &[]);
            }
        }
        let snippets: Vec<String> = shop
            .surface
            .snippets
            .iter()
            .filter(|s| s.len() > 1)
            .take(shop.wanted / 4)
            .cloned()
            .collect();
        for (i, snippet) in snippets.iter().enumerate() {
            let form = forms[i % forms.len()];
            let base = base_for(language, form, snippet, i, &mut rng);
            shop.maker.add("programs", &base, &[], &["snippet"]);
        }
    }
}

fn base_for(
    language: &Language,
    form: Form,
    code: &str,
    i: usize,
    rng: &mut fastrand::Rng,
) -> Base {
    let data =
        (!language.data.is_empty()).then(|| content(language.data[i % language.data.len()], rng));
    code_base(language, form, code, data)
}
