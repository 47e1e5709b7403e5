//! Catalogue and store: what is known, what is here, what is refused.

use engine::catalog::{Catalog, Kind};
use engine::store::{Store, StoreError};
use model::Model;

#[test]
fn the_catalogue_knows_its_models_by_name_and_id() {
    let catalog = Catalog::builtin().unwrap();
    for entry in &catalog.entries {
        assert_eq!(catalog.find(&entry.name).unwrap(), entry);
        assert_eq!(catalog.find(&entry.id.to_string()).unwrap(), entry);
        assert_eq!(entry.test, entry.name.starts_with("tiny-test-"));
        assert_eq!(entry.package.is_some(), entry.recipe().is_ok());
    }
    let error = catalog.find("gpt").unwrap_err();
    assert_eq!(
        error.to_string(),
        "no model \"gpt\" in the catalogue; \
         known are: all-minilm-l6-v2, smollm2-135m-instruct, tiny-test-chat, tiny-test-embed"
    );
}

#[test]
fn test_models_load_without_a_folder_and_match_their_pins() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("absent")).unwrap();
    let chat = store.load("tiny-test-chat").unwrap();
    assert_eq!(chat.entry.kind, Kind::Chat);
    assert!(chat.entry.test && chat.preprocess.is_chat());
    assert_eq!(chat.preprocess.hash(), chat.model.manifest().preprocess_hash);
    let embed = store.pull("tiny-test-embed", &mut |_| panic!("nothing to fetch")).unwrap();
    assert_eq!(embed.entry.kind, Kind::Embed);
    assert!(embed.entry.test && !embed.preprocess.is_chat());
}

#[test]
fn a_model_that_is_not_here_says_how_to_get_it() {
    let dir = tempfile::tempdir().unwrap();
    let error = Store::open(dir.path()).unwrap().load("all-minilm-l6-v2").unwrap_err();
    assert!(error.to_string().ends_with("selvedge model pull all-minilm-l6-v2"), "{error}");
}

#[test]
fn a_file_with_another_model_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let entry = store.catalog().find("all-minilm-l6-v2").unwrap().clone();
    std::fs::write(store.path(&entry), engine::tiny::embed().unwrap().to_bytes()).unwrap();
    assert!(store.has(&entry));
    assert!(matches!(store.load(&entry.name), Err(StoreError::WrongId { .. })));
    std::fs::write(store.path(&entry), b"selvedge-cir and then nothing").unwrap();
    assert!(matches!(store.load(&entry.name), Err(StoreError::Model(_))));
}

/// Runs only where MiniLM was fetched before: the file in the cache is the pinned model, and
/// scalar and fast kernels agree on it.
#[test]
fn minilm_in_the_cache_gives_equal_bits_on_every_backend() {
    let store = Store::open(Store::default_dir()).unwrap();
    let entry = store.catalog().find("all-minilm-l6-v2").unwrap().clone();
    if !store.has(&entry) {
        return;
    }
    let loaded = store.load(&entry.name).unwrap();
    crate::support::assert_certified(&loaded.model);
    let ids = loaded.preprocess.encode("Equal bits everywhere.").unwrap();
    let runs = crate::support::check(&loaded.model, &[engine::Job::embed(&ids)]);
    let bytes = std::fs::read(store.path(&entry)).unwrap();
    assert_eq!(Model::from_bytes(&bytes).unwrap().id(), entry.id);
    expect_test::expect!["ccf30dedf3bf7981f4cd09951bb5dca76affe19502ba8b27bc261bfd3d33cdae"]
        .assert_eq(&runs[0].trace_root.to_string());
}
