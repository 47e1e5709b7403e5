//! Conformance vectors of the models that the catalogue fetches: what they gave when version 1 of
//! the arithmetic was frozen, they give for ever.

use crate::support::{engines, go_on};
use engine::store::Store;
use engine::{Job, Sampling};
use expect_test::expect_file;
use model::{Output, commit};
use std::fmt::Write as _;

/// Longest input, and how many tokens are given.
const INPUT: u32 = 96;
const GIVEN: u32 = 24;

fn ids(length: u32) -> Vec<u32> {
    (0..length).map(|at| 1_000 + at * 37 % 20_000).collect()
}

/// Runs a model on every backend; what comes out, which must be the same on all of them.
fn vectors(name: &str) -> String {
    let store = Store::open(Store::default_dir()).unwrap();
    let loaded = store.pull(name, &mut |_| ()).unwrap();
    let mut agreed: Option<String> = None;
    for engine in engines(&loaded.model) {
        let mut text = format!("{name} {}\n", loaded.entry.id);
        let drawn = Sampling { temperature_milli: 800, top_p_milli: 950, top_k: 40 };
        for (length, sampling, seed) in
            [(1, Sampling::GREEDY, 0), (17, drawn, 42), (INPUT, Sampling::GREEDY, 0)]
        {
            let ids = ids(length);
            let job = Job { ids: &ids, sampling, seed, max_tokens: GIVEN, stop: &[] };
            let run = engine.generate(&job, &mut go_on).unwrap();
            let salt = crypto::Salt::new([7; 32]);
            let output = commit::output_commit(&salt, &run.output);
            writeln!(text, "\ninput {length}, seed {seed}, given {}", run.n_out).unwrap();
            if let Output::Tokens(tokens) = &run.output {
                writeln!(text, "tokens {tokens:?}").unwrap();
            }
            writeln!(text, "output {output}\ntrace  {}", run.trace_root).unwrap();
        }
        assert_eq!(agreed.get_or_insert(text.clone()), &text, "{}", engine.backend().name());
    }
    agreed.unwrap()
}

#[test]
#[ignore = "fetches models; `cargo xtask soak` runs it"]
fn soak_the_catalogues_models_give_what_they_gave_when_the_arithmetic_was_frozen() {
    let text = [vectors("all-minilm-l6-v2"), vectors("smollm2-135m-instruct")].join("\n");
    expect_file!["../golden/catalog.1.txt"].assert_eq(&text);
}
