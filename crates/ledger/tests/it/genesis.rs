//! Genesis: the document, its checks, and that it goes through the same rules as transactions.

use crate::testing::{PORTS, World, account, coins, genesis, operator_of, public};
use crypto::ChainId;
use ledger::{
    Genesis, GenesisError, Params, Rejection, State, accounts,
    accounts::Pot,
    genesis::{GenesisAccount, GenesisOperator, GenesisSession, SUPPLY_CAP},
    staking,
};
use units::{Coin, Credit, List, Millis};

fn start(genesis: &Genesis) -> Result<State, GenesisError> {
    State::from_genesis(genesis, ChainId::new(genesis.digest()), &PORTS)
}

fn operator(bond: Coin) -> GenesisOperator {
    let registration = staking::Registration {
        index: 0,
        box_key: public("box"),
        class: staking::Class::Board,
        profile: staking::Profile::default(),
        bond,
    };
    GenesisOperator { owner: account("olga"), registration }
}

#[test]
fn a_genesis_is_the_same_document_in_json_toml_and_canonical_bytes() {
    let mut genesis = genesis();
    genesis.operators = List::new(vec![operator(coins(100))]).unwrap();
    let json = serde_json::to_string(&genesis).unwrap();
    let toml = toml::to_string(&genesis).unwrap();
    let bytes = borsh::to_vec(&genesis).unwrap();
    assert_eq!(serde_json::from_str::<Genesis>(&json).unwrap().digest(), genesis.digest());
    assert_eq!(toml::from_str::<Genesis>(&toml).unwrap().digest(), genesis.digest());
    assert_eq!(borsh::from_slice::<Genesis>(&bytes).unwrap(), genesis);
}

#[test]
fn a_misspelt_parameter_is_refused_and_a_missing_section_takes_its_defaults() {
    let known = "name = 'x'\ntime = 1\n[price]\nfixed = '100000000'\n";
    let read = toml::from_str::<Genesis>(known).unwrap();
    assert_eq!(read.params, Params::default());
    let misspelt = format!("{known}[params.block]\npaces = 1\n");
    assert!(toml::from_str::<Genesis>(&misspelt).is_err());
}

#[test]
fn the_default_and_the_devnet_parameters_lie_within_their_bounds() {
    Params::default().check().unwrap();
    Params::devnet().check().unwrap();
}

#[test]
fn each_parameter_outside_its_bounds_is_refused_by_name() {
    type Change = fn(&mut Params);
    let cases: [(&str, Change); 12] = [
        ("block.pace", |p| p.block.pace = Millis::ZERO),
        ("block.idle", |p| p.block.idle = Millis::new(1)),
        ("block.bytes", |p| p.block.bytes = 1),
        ("windows.epoch", |p| p.windows.epoch = Millis::ZERO),
        ("windows.draw_delay", |p| p.windows.draw_delay = 0),
        ("accounts.transfer_fee", |p| p.accounts.transfer_fee = coins(2)),
        ("credits.take", |p| p.credits.take = units::BasisPoints::ZERO),
        ("credits.take_split", |p| p.credits.take_split.audit = units::BasisPoints::ZERO),
        ("staking.unbonding", |p| p.staking.unbonding = Millis::new(19_999)),
        ("models.publish_fee", |p| p.models.publish_fee = coins(11)),
        ("payments.cashable_minimum", |p| p.payments.cashable_minimum = Credit::ZERO),
        ("payments.base_pay", |p| p.payments.base_pay = units::BasisPoints::ZERO),
    ];
    for (name, change) in cases {
        let mut genesis = genesis();
        change(&mut genesis.params);
        match start(&genesis) {
            Err(GenesisError::Params(out_of_bounds)) => assert_eq!(out_of_bounds.name, name),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn an_account_that_stands_twice_or_more_coin_than_the_cap_is_refused() {
    let mut twice = genesis();
    let entry = twice.accounts[0].clone();
    twice.accounts = List::new(vec![entry.clone(), entry]).unwrap();
    assert_eq!(start(&twice), Err(GenesisError::Twice { account: account("alice") }));
    let mut rich = genesis();
    rich.treasury = SUPPLY_CAP;
    let made = SUPPLY_CAP.checked_add(coins(5_000_000)).unwrap();
    assert_eq!(start(&rich), Err(GenesisError::Supply { made }));
}

#[test]
fn an_operator_at_genesis_bonds_its_owners_coin_above_the_same_floor() {
    let mut genesis = genesis();
    genesis.operators = List::new(vec![operator(coins(100))]).unwrap();
    let world = World::from_genesis(&genesis);
    assert_eq!(world.pot(Pot::Bonds), coins(100));
    assert_eq!(world.balance("olga"), coins(999_900));
    let id = operator_of("olga", 0);
    assert!(staking::operator(&world.state, &id).unwrap().is_some());
    genesis.operators = List::new(vec![operator(coins(1))]).unwrap();
    let (bond, floor) = (coins(1), coins(50));
    let why: Rejection = staking::Error::BelowFloor { bond, floor }.into();
    assert_eq!(
        start(&genesis),
        Err(GenesisError::Refused { part: "operator", index: 0, why: Box::new(why) })
    );
}

#[test]
fn a_session_at_genesis_is_a_session() {
    let mut genesis = genesis();
    let session = GenesisSession {
        key: public("box"),
        fee_cap: coins(1),
        spend_cap: Credit::ZERO,
        expires: Millis::new(1_000),
    };
    let entry = GenesisAccount {
        account: account("alice"),
        balance: coins(5),
        sessions: List::new(vec![session.clone()]).unwrap(),
    };
    genesis.accounts = List::new(vec![entry.clone()]).unwrap();
    let world = World::from_genesis(&genesis);
    let granted = accounts::session(&world.state, &account("alice"), &public("box")).unwrap();
    assert!(granted.unwrap().is_live(Millis::ZERO));
    let past = GenesisSession { expires: Millis::ZERO, ..session };
    let entry = GenesisAccount { sessions: List::new(vec![past]).unwrap(), ..entry };
    genesis.accounts = List::new(vec![entry]).unwrap();
    let refused = start(&genesis);
    assert!(matches!(refused, Err(GenesisError::Refused { part: "account", index: 0, .. })));
}
