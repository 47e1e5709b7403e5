//! Credits: scenarios as sentences, and properties of the formulas.

use super::{
    Error, Holding, Params, PriceSource, Shares, Tx,
    apply::{charge, forfeit, refund},
    math::{coin_worth, cost_of, credit_worth, split, spread},
    totals,
};
use crate::{
    Broken, Call, Rejection, State, Status,
    accounts::{
        Pot,
        apply::{Purse, move_coin},
    },
    context::Context,
    error::Failure,
    genesis::GenesisError,
    store::{Overlay, View},
    testing::{PORTS, World, account, coins, deposit, genesis, mint, redeem, whole_credits},
};
use crypto::ChainId;
use proptest::prelude::*;
use units::{Coin, Credit, NANO, Rounding, UsdNano};

fn rejected(error: Error) -> Status {
    Status::Rejected(Rejection::Credits(error))
}

/// Runs code of the crate's own in a context above the world, as a later module would.
fn within(world: &mut World, run: impl FnOnce(&mut Context<'_>) -> Result<(), Failure>) {
    let now = world.now();
    let writes = {
        let overlay = Overlay::new(View::from(&world.state));
        let mut ctx = Context::open(overlay, now, PORTS).unwrap();
        run(&mut ctx).unwrap();
        ctx.close().0
    };
    world.state.commit(&writes);
}

#[test]
fn r1_r3_minting_moves_coin_to_remint_and_stability_and_makes_credits_at_the_price() {
    let mut world = World::new();
    world.done("alice", mint(coins(400)));
    assert_eq!(world.pot(Pot::Stability), coins(1));
    assert_eq!(world.pot(Pot::Remint), coins(399));
    let made = Credit::new(399 * NANO / 10);
    assert_eq!(
        world.holding("alice"),
        Holding { free: made, locked: Credit::ZERO, cost: coins(399) }
    );
}

#[test]
fn r2_no_transaction_gives_credits_to_another_account() {
    let mut world = World::new();
    world.done("alice", mint(coins(400)));
    assert_eq!(world.holding("bob"), Holding::default());
    let free = Credit::ZERO;
    let status = world.send("bob", redeem(Credit::new(1)));
    assert_eq!(status, rejected(Error::Insufficient { free, amount: Credit::new(1) }));
}

#[test]
fn r3_minting_nothing_or_dust_or_below_the_limit_is_rejected() {
    let mut world = World::new();
    assert_eq!(world.send("alice", mint(Coin::ZERO)), rejected(Error::ZeroAmount));
    assert_eq!(world.send("alice", mint(Coin::new(5))), rejected(Error::TooSmall));
    let (coin, at_least) = (coins(400), whole_credits(40));
    let made = Credit::new(399 * NANO / 10);
    let status = world.send("alice", Call::Credits(Tx::Mint { coin, at_least }));
    assert_eq!(status, rejected(Error::MintBelowLimit { coin, made, at_least }));
}

#[test]
fn r3_minting_more_than_the_account_holds_is_rejected() {
    let mut world = World::new();
    let status = world.send("alice", mint(coins(2_000_000)));
    assert!(matches!(status, Status::Rejected(Rejection::Accounts(_))));
    let status = world.send("alice", mint(Coin::MAX));
    assert!(matches!(status, Status::Rejected(_)));
}

#[test]
fn r4_r5_redeeming_everything_pays_back_no_more_than_was_put_behind_it() {
    let mut world = World::new();
    world.done("alice", mint(coins(400)));
    let free = world.holding("alice").free;
    let before = world.balance("alice");
    world.done("alice", redeem(free));
    let fee = world.params().credits.redeem_fee;
    let paid = world.balance("alice").checked_add(fee).unwrap().checked_sub(before).unwrap();
    assert_eq!(paid, coins(399));
    assert_eq!(world.holding("alice"), Holding::default());
    assert_eq!(world.pot(Pot::Remint), Coin::ZERO);
}

#[test]
fn r5_deposited_credits_cannot_be_redeemed() {
    let mut world = World::new();
    world.done("alice", mint(coins(400)));
    world.done("alice", deposit(whole_credits(39)));
    let amount = whole_credits(1);
    let free = world.holding("alice").free;
    assert_eq!(world.send("alice", redeem(amount)), rejected(Error::Insufficient { free, amount }));
}

#[test]
fn r5_redeeming_below_the_limit_is_rejected() {
    let mut world = World::new();
    world.done("alice", mint(coins(400)));
    let (amount, at_least) = (whole_credits(1), coins(11));
    let status = world.send("alice", Call::Credits(Tx::Redeem { amount, at_least }));
    let paid = coins(10);
    assert_eq!(status, rejected(Error::RedeemBelowLimit { amount, paid, at_least }));
    assert_eq!(world.send("alice", redeem(Credit::ZERO)), rejected(Error::ZeroAmount));
}

#[test]
fn r6_settlement_pays_operator_and_shares_exactly_and_burns_half_of_the_take() {
    let mut world = World::new();
    world.fund("alice", 100);
    let owner = account("olga");
    let before = (world.balance("olga"), world.burned());
    within(&mut world, |ctx| {
        super::apply::charge(ctx, account("alice"), whole_credits(100))?;
        super::apply::settle(ctx, owner, whole_credits(100))
    });
    // 100 credits are 1,000 coins at ten cents; the take is 100.
    assert_eq!(world.balance("olga"), before.0.checked_add(coins(900)).unwrap());
    assert_eq!(world.burned(), before.1.checked_add(coins(50)).unwrap());
    assert_eq!(world.pot(Pot::Audit), coins(20));
    assert_eq!(world.pot(Pot::Treasury), coins(100 + 15));
    assert_eq!(world.pot(Pot::Validators), coins(10));
    assert_eq!(world.pot(Pot::Insurance), coins(5));
}

/// Moves everything out of `remint` but `left`, which no transaction can do.
fn drain(world: &mut World, left: Coin) {
    let held = world.pot(Pot::Remint).checked_sub(left).unwrap();
    within(world, |ctx| {
        move_coin(ctx, Purse::Pot(Pot::Remint), Purse::Account(account("otto")), held)
    });
}

#[test]
fn r7_what_remint_cannot_cover_is_queued_and_paid_in_order_when_it_fills() {
    let mut world = World::new();
    world.fund("alice", 100);
    drain(&mut world, coins(15));
    let (olga, bob) = (world.balance("olga"), world.balance("bob"));
    within(&mut world, |ctx| {
        super::apply::charge(ctx, account("alice"), whole_credits(3))?;
        super::apply::settle(ctx, account("olga"), whole_credits(2))?;
        super::apply::settle(ctx, account("bob"), whole_credits(1))
    });
    // The younger one could be covered, but waits behind the older.
    assert_eq!((world.balance("olga"), world.balance("bob")), (olga, bob));
    within(&mut world, |ctx| {
        move_coin(ctx, Purse::Account(account("otto")), Purse::Pot(Pot::Remint), coins(5))?;
        super::apply::begin_block(ctx)
    });
    assert_eq!(world.balance("olga"), olga.checked_add(coins(18)).unwrap());
    assert_eq!(world.balance("bob"), bob);
    within(&mut world, |ctx| {
        move_coin(ctx, Purse::Account(account("otto")), Purse::Pot(Pot::Remint), coins(10))?;
        super::apply::begin_block(ctx)
    });
    assert_eq!(world.balance("bob"), bob.checked_add(coins(9)).unwrap());
    assert_eq!(world.pot(Pot::Remint), Coin::ZERO);
}

#[test]
fn r7_a_redemption_that_remint_cannot_cover_is_rejected() {
    let mut world = World::new();
    world.done("alice", mint(coins(400)));
    drain(&mut world, coins(1));
    let now = world.now();
    let overlay = Overlay::new(View::from(&world.state));
    let mut ctx = Context::open(overlay, now, PORTS).unwrap();
    let sender =
        crate::context::Sender { account: account("alice"), signer: *account("alice").get() };
    let tx = Tx::Redeem { amount: whole_credits(1), at_least: Coin::ZERO };
    let short = Error::RemintShort { held: coins(1), amount: coins(10) };
    assert_eq!(super::apply::apply(&mut ctx, &sender, &tx), Err(short.into()));
}

#[test]
fn r8_a_price_outside_its_bounds_makes_no_genesis() {
    for price in [0, 999, 1_000_001 * NANO] {
        let mut genesis = genesis();
        genesis.price = PriceSource::Fixed(UsdNano::new(price));
        let made = State::from_genesis(&genesis, ChainId::new(genesis.digest()), &PORTS);
        assert_eq!(made, Err(GenesisError::Price));
    }
}

#[test]
fn r9_a_pot_that_owes_more_than_it_holds_is_a_broken_state_not_a_rejection() {
    let world = World::new();
    let overlay = Overlay::new(View::from(&world.state));
    let mut ctx = Context::open(overlay, world.now(), PORTS).unwrap();
    let from = Purse::Pot(Pot::Remint);
    let result = move_coin(&mut ctx, from, Purse::Account(account("bob")), Coin::new(1));
    assert!(matches!(result, Err(Failure::Broken(Broken::Rule(_)))));
}

fn whole_of(shares: &Shares) -> u128 {
    let Shares { operator, burned, audit, treasury, validators, insurance } = *shares;
    let parts = [operator, burned, audit, treasury, validators, insurance];
    parts.iter().fold(0, |whole, part| whole + part.get())
}

#[test]
fn r6_ten_thousand_splits_of_one_to_ten_billionths_are_exact_and_never_favour_the_operator() {
    let params = Params::default();
    for probe in 0..10_000_u128 {
        let coin = Coin::new(1 + probe % 10);
        let shares = split(coin, &params).unwrap();
        assert_eq!(whole_of(&shares), coin.get());
        assert!(shares.operator.get() * 10 <= coin.get() * 9);
    }
}

proptest! {
    #[test]
    fn r6_a_split_of_any_amount_is_exact(amount: u128) {
        let shares = split(Coin::new(amount), &Params::default()).unwrap();
        prop_assert_eq!(shares.total().unwrap(), Coin::new(amount));
    }

    #[test]
    fn r3_r5_coin_to_credits_and_back_never_gains(
        amount in 0..u128::MAX / (1_000_000 * NANO),
        price in 1_000..1_000_000 * NANO,
    ) {
        let (coin, price) = (Coin::new(amount), UsdNano::new(price));
        let back = coin_worth(credit_worth(coin, price).unwrap(), price).unwrap();
        prop_assert!(back <= coin);
    }

    #[test]
    fn r3_the_spread_is_at_least_its_share(amount: u128) {
        let params = Params::default();
        let spread = spread(Coin::new(amount), &params).unwrap();
        prop_assert!(spread.get() >= amount / 400);
    }

    #[test]
    fn r4_parts_of_a_cost_never_exceed_the_whole(
        free: u64, locked: u64, cost: u64, share in 0.0..1.0_f64,
    ) {
        let holding = Holding {
            free: Credit::new(free.into()),
            locked: Credit::new(locked.into()),
            cost: Coin::new(cost.into()),
        };
        let held = u128::from(free) + u128::from(locked);
        let amount = Credit::new((held as f64 * share) as u128);
        prop_assume!(amount.get() <= held);
        let down = cost_of(&holding, amount, Rounding::Down).unwrap();
        let up = cost_of(&holding, amount, Rounding::Up).unwrap();
        prop_assert!(down <= up && up <= holding.cost);
    }
}

#[test]
fn r10_a_refund_gives_credits_their_coin_back_and_what_is_forfeited_goes_to_nobody_who_could_fail()
{
    let mut world = World::new();
    world.done("alice", mint(coins(400)));
    world.done("alice", deposit(whole_credits(20)));
    let whole = world.holding("alice");
    let amount = whole_credits(3);
    within(&mut world, |ctx| {
        charge(ctx, account("alice"), amount)?;
        refund(ctx, account("alice"), amount)
    });
    let back = world.holding("alice");
    assert_eq!((back.free, back.locked), (whole.free, whole.locked));
    assert!(back.cost >= whole.cost && back.cost <= whole.cost.checked_add(Coin::new(1)).unwrap());

    let (burned, insurance) = (world.burned(), world.pot(Pot::Insurance));
    let (remint, owner) = (world.pot(Pot::Remint), world.balance("olga"));
    within(&mut world, |ctx| {
        charge(ctx, account("alice"), amount)?;
        forfeit(ctx, account("olga"), amount)
    });
    // Three credits are worth thirty coins.
    assert_eq!(world.burned().checked_sub(burned).unwrap(), coins(15));
    assert_eq!(world.pot(Pot::Insurance).checked_sub(insurance).unwrap(), coins(15));
    assert_eq!(remint.checked_sub(world.pot(Pot::Remint)).unwrap(), coins(30));
    assert_eq!(world.balance("olga"), owner);
    assert_eq!(totals(&world.state).unwrap().settled, amount);
}
