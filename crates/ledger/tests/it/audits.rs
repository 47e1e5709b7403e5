//! Audits as experiments: many claims of honest and cheating operators through the whole ledger,
//! against closed forms and against each other.
//!
//! Rules: a figure is asserted within its statistical bound, never a time; one printed seed replays
//! a run. The short versions run always, the long ones in `cargo xtask soak`, which print the
//! figures of `docs/benchmarks.md`.

use crate::{
    random::{Random, seed_from_env},
    testing::{
        account, coins,
        network::{Claimed, Network, audited, call, copies, salt_of},
        operator_of, toy,
        toy::ToyRun,
    },
};
use crypto::OperatorId;
use ledger::{
    Call, Params, Read, Status, accounts, disputes,
    disputes::moves::Finding,
    staking, tables, verification,
    verification::{Grade, Phase, Tx},
};
use std::{
    hash::{BuildHasher, Hasher, RandomState},
    rc::Rc,
};
use units::{BasisPoints, Coin, Credit, Millis};

/// Everybody that audits in an experiment, with equal bonds.
const AUDITORS: [&str; 10] = ["a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8", "a9"];
/// How often a day of the network fits into one of the experiment: all times are so much shorter.
const FASTER: u64 = 60;

fn second(seconds: u64) -> Millis {
    Millis::new(seconds * 1_000)
}

/// The defaults with all times divided by [`FASTER`], one round to the draw and no jail.
fn faster() -> Params {
    let mut params = audited();
    params.windows.epoch = second(600 / FASTER);
    params.windows.claim = second(1);
    (params.windows.open, params.windows.commit) = (second(2), second(2));
    params.windows.reveal = second(2);
    params.windows.challenge = second(86_400 / FASTER);
    params.windows.draw_delay = 1;
    params.staking.unbonding = second(14 * 86_400 / FASTER);
    params.payments.claim_retention = second(60);
    params.disputes.clock = second(1_800 / FASTER);
    params.verification = verification::Params {
        audited_owners: 1,
        fault_memory: second(90 * 86_400 / FASTER),
        jail: second(3_600 / FASTER),
        probation: second(7 * 86_400 / FASTER),
        ..verification::Params::default()
    };
    params
}

/// One identity of somebody that serves.
struct Seller {
    owner: String,
    operator: OperatorId,
    /// Of a million receipts, how many it fakes.
    fakes: u64,
    /// Its place among the sellers, and how many identities it had before.
    place: usize,
    life: usize,
    claims: u64,
    /// Receipts it served, and those that it really ran.
    served: u64,
    ran: u64,
}

/// A market at speed.
struct Market {
    network: Network,
    random: Random,
    right: Rc<ToyRun>,
    fake: Rc<ToyRun>,
    right_finding: Finding,
    fake_finding: Finding,
    sellers: Vec<Seller>,
    /// Auditors from the start of the list that say what the operator wants.
    hostile: usize,
    bond: Coin,
    /// Audits done.
    audits: u64,
    /// Claims of every identity that was found out, and of those that were not.
    caught: Vec<u64>,
}

impl Market {
    fn new(params: Params, seed: u64, hostile: usize, bond: Coin, fakes: &[u64]) -> Self {
        let mut people = AUDITORS.to_vec();
        people.push("bank");
        let mut network = Network::empty(params, &people);
        network.world.every = 64;
        for name in AUDITORS {
            network.enlist(name, coins(1_000));
        }
        let right = network.right();
        let mut fake = right.clone();
        fake.tokens[1] = 500;
        let (right_finding, fake_finding) = (right.finding(), fake.finding());
        let mut market = Self {
            network,
            random: Random::new(seed),
            right: Rc::new(right),
            fake: Rc::new(fake),
            right_finding,
            fake_finding,
            sellers: Vec::new(),
            hostile,
            bond,
            audits: 0,
            caught: Vec::new(),
        };
        for (place, fakes) in fakes.iter().enumerate() {
            let seller = market.enter(place, 0, *fakes);
            market.sellers.push(seller);
        }
        market.network.world.block(&[]);
        market
    }

    /// A new identity with a bond of its own.
    fn enter(&mut self, place: usize, life: usize, fakes: u64) -> Seller {
        let owner = format!("seller {place} life {life}");
        let amount = self.bond.checked_add(coins(20)).unwrap();
        let payer = ["bank", "alice", "bob", "otto"].into_iter();
        let rich = payer.max_by_key(|name| self.network.world.balance(name)).unwrap();
        self.network.world.done(rich, crate::testing::transfer(&owner, amount));
        let operator = self.network.join(&owner, self.bond);
        Seller { owner, operator, fakes, place, life, claims: 0, served: 0, ran: 0 }
    }

    fn is_hostile(&self, name: &str) -> bool {
        AUDITORS[..self.hostile].contains(&name)
    }

    /// What a receipt's own run is.
    fn finding(&self, run: &Rc<ToyRun>) -> Finding {
        if Rc::ptr_eq(run, &self.fake) { self.fake_finding } else { self.right_finding }
    }

    /// One period: everybody claims so many receipts, and what is drawn is audited. A cheat keeps
    /// silent in its disputes. Returns who was found out, by place in the list.
    fn period(&mut self, count: impl Fn(&Network, &Seller) -> usize) -> Vec<usize> {
        let mut claims = Vec::new();
        for index in 0..self.sellers.len() {
            let count = count(&self.network, &self.sellers[index]);
            if count == 0 {
                continue;
            }
            let fakes = self.sellers[index].fakes;
            let pick = |random: &mut Random| {
                if random.below(1_000_000) < fakes { self.fake.clone() } else { self.right.clone() }
            };
            let runs: Vec<_> = (0..count).map(|_| pick(&mut self.random)).collect();
            let ran = runs.iter().filter(|run| Rc::ptr_eq(run, &self.right)).count();
            let claimed = self.network.serve(&self.sellers[index].owner, &runs);
            claims.push((index, ran as u64, claimed));
        }
        self.until_next_period();
        let filings = claims.iter().map(|(_, _, it)| (it.owner.clone(), self.network.filing(it)));
        let statuses = self.network.batch(filings.collect());
        let mut statuses = statuses.into_iter();
        claims.retain(|_| statuses.next() == Some(Status::Applied));
        for (index, ran, claimed) in &claims {
            self.network.filed(claimed);
            let seller = &mut self.sellers[*index];
            seller.claims += 1;
            seller.served += claimed.work.len() as u64;
            seller.ran += ran;
        }
        self.network.world.block(&[]);
        self.network.world.block(&[]);
        let claims: Vec<Claimed> = claims.into_iter().map(|(.., claimed)| claimed).collect();
        self.audit(&claims);
        let caught = |seller: &Seller| !self.network.faults(seller.operator).is_empty();
        let places = self.sellers.iter().enumerate().filter(|(_, seller)| caught(seller));
        places.map(|(place, _)| place).collect()
    }

    fn until_next_period(&mut self) {
        let epoch = self.network.world.params().windows.epoch.get();
        let mut left = epoch - self.network.world.clock() % epoch;
        while left > 0 {
            let step = left.min(5_000);
            self.network.world.block_after(step, &[]).unwrap();
            left -= step;
        }
    }

    /// Openings, commitments, reveals, and the time of a dispute nobody answers.
    fn audit(&mut self, claims: &[Claimed]) {
        let openings = claims.iter().flat_map(|claimed| self.network.openings(claimed));
        let openings: Vec<_> = openings.collect();
        if openings.is_empty() {
            return;
        }
        self.network.all_done(openings);
        for phase in [Phase::Committing, Phase::Revealing] {
            let calls: Vec<_> =
                claims.iter().flat_map(|claimed| self.says(claimed, phase)).collect();
            self.network.all_done(calls);
        }
        let disputed =
            |claimed: &Claimed| !self.network.in_phase(claimed, Phase::Disputed).is_empty();
        if claims.iter().any(disputed) {
            self.network.world.block_after(1_500, &[]).unwrap();
        }
    }

    /// What the auditors of a claim commit to, or reveal.
    fn says(&mut self, claimed: &Claimed, phase: Phase) -> Vec<(String, Call)> {
        let mut calls = Vec::new();
        let (operator, epoch) = (claimed.operator, claimed.epoch);
        for (point, record) in self.network.in_phase(claimed, phase) {
            let own = &claimed.work[claimed.index_of(&record.receipt.unwrap())].2;
            for seat in record.seats.iter() {
                let name = self.network.name(seat.auditor);
                let hostile = self.is_hostile(&name);
                let finding = if hostile { self.finding(own) } else { self.right_finding };
                let salt = salt_of(&name);
                let tx = if phase == Phase::Committing {
                    let commitment = verification::commitment(&finding, &seat.auditor, &salt);
                    self.audits += 1;
                    Tx::Commit { operator, epoch, point, commitment }
                } else {
                    Tx::Reveal { operator, epoch, point, finding, salt }
                };
                calls.push((name, call(tx)));
            }
            if phase == Phase::Revealing {
                let (trace_root, salt) = (self.finding(own).trace_root, toy::trace_salt());
                let tx = Tx::RevealTrace { operator, epoch, point, trace_root, salt };
                calls.push((claimed.owner.clone(), call(tx)));
            }
        }
        calls
    }

    /// Replaces who was found out by a new identity of the same cheat.
    fn enter_anew(&mut self, caught: Vec<usize>) {
        for index in caught {
            let Seller { place, life, fakes, claims, .. } = self.sellers[index];
            self.caught.push(claims);
            self.sellers[index] = self.enter(place, life + 1, fakes);
        }
    }
}

/// The chance that one claim of `n` equal receipts is found out, of which each is faked with chance
/// `x`: p·(1 − (1 − x)^2), but for two points that fall on one receipt, by honest auditors.
fn chance(p: f64, x: f64, n: usize, hostile: usize) -> f64 {
    let (n, all, bad) = (n as f64, AUDITORS.len() as f64, hostile as f64);
    let blind = bad / all * (bad - 1.0).max(0.0) / (all - 1.0);
    let seen = |x: f64| x * (1.0 - blind);
    let two = 1.0 - (1.0 - seen(x)).powi(2);
    p * ((1.0 - 1.0 / n) * two + seen(x) / n)
}

/// Claims until detection, from so many detections, beside the closed form.
fn detection(seed: u64, fakes: u64, hostile: usize, detections: usize) -> (f64, f64) {
    const RECEIPTS: usize = 100;
    let mut params = faster();
    // One claim after another of the same size: the floor decides, and no cap stands in the way.
    (params.verification.probation_levels, params.verification.jail) = (0, Millis::ZERO);
    params.disputes.clock = second(1);
    let mut market = Market::new(params, seed, hostile, coins(500), &[fakes; 20]);
    let mut exposed = 0;
    while market.caught.len() < detections {
        let caught = market.period(|_, _| RECEIPTS);
        exposed += market.sellers.len();
        market.network.world.log.clear();
        market.enter_anew(caught);
    }
    market.network.world.check();
    let mean = exposed as f64 / market.caught.len() as f64;
    (mean, 1.0 / chance(0.2, fakes as f64 / 1e6, RECEIPTS, hostile))
}

/// Three standard deviations of a mean of geometric waits, relative to it.
fn three_sigma(detections: usize) -> f64 {
    3.0 / (detections as f64).sqrt()
}

#[test]
fn whole_cheats_are_found_as_soon_as_the_closed_form_says() {
    let seed = seed_from_env("LEDGER_SEED", 4);
    let (mean, expected) = detection(seed, 1_000_000, 2, 100);
    eprintln!("found after {mean:.2} claims, closed form {expected:.2}");
    assert!((mean / expected - 1.0).abs() < three_sigma(100), "{mean} for {expected}");
}

fn soak_detection(fakes: u64) {
    let fresh = RandomState::new().build_hasher().finish();
    let seed = seed_from_env("LEDGER_SEED", fresh);
    let (mean, expected) = detection(seed, fakes, 2, 1_000);
    let minutes = mean * 10.0;
    eprintln!(
        "x = {fakes} of a million: {mean:.2} claims ({minutes:.0} min), {expected:.2} expected"
    );
    assert!((mean / expected - 1.0).abs() < 0.1, "{mean} for {expected}");
}

#[test]
#[ignore = "takes minutes; run by the soak"]
fn soak_a_thousand_whole_cheats_are_found_within_a_tenth_of_the_closed_form() {
    soak_detection(1_000_000);
}

#[test]
#[ignore = "takes minutes; run by the soak"]
fn soak_a_thousand_cheats_of_a_tenth_are_found_within_a_tenth_of_the_closed_form() {
    soak_detection(100_000);
}

#[test]
#[ignore = "takes minutes; run by the soak"]
fn soak_a_thousand_cheats_of_a_hundredth_are_found_within_a_tenth_of_the_closed_form() {
    soak_detection(10_000);
}

/// What each kind of seller has made in dollars after so many periods: coin earned and lost, less
/// half a fee for every receipt that was really run. Cheats enter as somebody new once found out.
fn income(seed: u64, hostile: usize, periods: usize, fakes: &[u64]) -> (Vec<f64>, f64) {
    const DEMAND: usize = 40;
    let bond = coins(100);
    let mut market = Market::new(faster(), seed, hostile, bond, fakes);
    let fee = market.network.receipt_fee();
    let mut wealth = vec![0.0; fakes.len()];
    let mut past: Vec<(String, OperatorId)> = Vec::new();
    let (mut ran, mut served) = (vec![0; fakes.len()], 0);
    for _ in 0..periods {
        let caught = market.period(|network, seller| room(network, seller, fee).min(DEMAND));
        market.network.world.log.clear();
        for index in &caught {
            let seller = &market.sellers[*index];
            past.push((seller.owner.clone(), seller.operator));
            ran[seller.place] += seller.ran;
            served += seller.served;
        }
        market.enter_anew(caught);
    }
    // What is claimed by now is settled.
    market.network.world.every = u64::MAX;
    market.network.world.wait(2 * 86_400_000 / FASTER);
    for seller in &market.sellers {
        past.push((seller.owner.clone(), seller.operator));
        ran[seller.place] += seller.ran;
        served += seller.served;
    }
    let endowed = bond.checked_add(coins(20)).unwrap();
    for (owner, operator) in past {
        let place: usize = owner.split(' ').nth(1).unwrap().parse().unwrap();
        let bonded = staking::operator(&market.network.world.state, &operator).unwrap().unwrap();
        let all = [market.network.world.balance(&owner), bonded.bond, bonded.unbonding];
        let all = Coin::total(all).unwrap();
        wealth[place] += (all.get() as f64 - endowed.get() as f64) / 1e9 * 0.1;
    }
    let cost = fee.get() as f64 / 1e9 * 0.5;
    for (wealth, ran) in wealth.iter_mut().zip(ran) {
        *wealth -= ran as f64 * cost;
    }
    (wealth, market.audits as f64 / served as f64)
}

/// How many receipts an operator may still claim.
fn room(network: &Network, seller: &Seller, fee: Credit) -> usize {
    let clock = network.world.now().clock;
    let cap = verification::value_cap(&network.world.state, &seller.operator, clock);
    let cap = cap.unwrap().unwrap();
    let free = cap.value.unwrap().saturating_sub(cap.unverified);
    if cap.jailed_until > clock { 0 } else { (free.get() / fee.get()) as usize }
}

#[test]
fn a_whole_cheat_makes_less_in_a_hundred_periods_than_an_honest_operator() {
    let seed = seed_from_env("LEDGER_SEED", 5);
    let (made, _) = income(seed, 2, 100, &[0, 0, 1_000_000, 1_000_000]);
    eprintln!("made {made:?}");
    let (honest, cheat) = (made[0] + made[1], made[2] + made[3]);
    assert!(honest > 0.0 && cheat < honest / 2.0, "{made:?}");
}

/// C1, C2, bar 3: thirty days with re-entry as a new identity.
#[test]
#[ignore = "takes minutes; run by the soak"]
fn soak_in_thirty_days_every_cheat_makes_less_than_half_of_an_honest_operator() {
    let fresh = RandomState::new().build_hasher().finish();
    let seed = seed_from_env("LEDGER_SEED", fresh);
    let kinds = [0, 10_000, 50_000, 100_000, 300_000, 1_000_000];
    let fakes: Vec<u64> = kinds.iter().flat_map(|kind| [*kind; 4]).collect();
    let (made, overhead) = income(seed, 3, 4_320, &fakes);
    let mean: Vec<f64> =
        made.chunks(4).map(|of| of.iter().fold(0.0, |sum, made| sum + made) / 4.0).collect();
    eprintln!("honest made {:.2} dollars", mean[0]);
    for (kind, made) in kinds.iter().zip(&mean) {
        let (share, of_honest) = (*kind as f64 / 1e6, made / mean[0]);
        eprintln!("x = {share}: {made:.2} dollars, {of_honest:.2} of an honest operator");
    }
    eprintln!("audits for each receipt: {overhead:.4}");
    assert!(mean[1..].iter().all(|made| *made < mean[0] / 2.0), "{mean:?}");
}

/// C7 and the overhead of auditing, where nobody cheats.
#[test]
fn where_nobody_cheats_audits_cost_a_hundredth_and_are_paid_from_the_take() {
    let seed = seed_from_env("LEDGER_SEED", 6);
    let mut params = faster();
    params.verification.probation_levels = 0;
    let mut market = Market::new(params, seed, 0, coins(500), &[0; 10]);
    let before: Vec<Coin> = AUDITORS.map(|name| market.network.world.balance(name)).to_vec();
    // The first claims fill the pot, as a genesis or an earlier year would have.
    for _ in 0..40 {
        assert!(market.period(|_, _| 100).is_empty());
    }
    let served: u64 = market.sellers.iter().fold(0, |sum, seller| sum + seller.served);
    let overhead = market.audits as f64 / served as f64;
    eprintln!("audits for each receipt: {overhead:.4}");
    // Expected 0.2 · 2 · 2 / 100; three standard deviations of so many claims.
    let claims = served as f64 / 100.0;
    let sigma = (0.2 * 0.8 / claims).sqrt() * 4.0 / 100.0;
    assert!(overhead < 0.008 + 3.0 * sigma, "{overhead}");
    let earned: f64 = AUDITORS.iter().zip(before).fold(0.0, |sum, (name, before)| {
        let after = market.network.world.balance(name);
        sum + (after.get() as f64 - before.get() as f64) / 1e9
    });
    let work = market.audits as f64 * market.network.receipt_fee().get() as f64 / 1e9 * 10.0;
    eprintln!("auditors earned {earned:.3} coins for work that sells at {work:.3}");
    assert!(earned > work * 0.9, "{earned} for {work}");
    for seller in &market.sellers {
        assert_eq!(market.network.bond(seller.operator), coins(500));
    }
    let pot = market.network.world.pot(accounts::Pot::Audit);
    assert!(pot > Coin::ZERO, "the take is more than audits cost");
}

/// C6: an auditor that copies what operators leak earns less than one that runs, as soon as a few
/// of the leaks are bait.
#[test]
fn an_auditor_that_copies_loses_by_one_bait_what_many_audits_pay() {
    let mut params = audited();
    (params.verification.leaves, params.verification.auditors) = (1, 1);
    let mut network = Network::new(params);
    let right = network.right();
    let bait = {
        let mut run = right.clone();
        run.tokens[1] = 500;
        run
    };
    let claimed = network.drawn("olga", &right, 120);
    network.audit(&claimed, |_| Some(right.clone()));
    network.world.wait(30_000);
    let claimed = network.drawn("olga", &right, 1);
    let openings = network.openings(&claimed);
    network.all_done(openings);
    let copier = network.name(network.points(&claimed)[0].1.seats.first().unwrap().auditor);
    let wealth = |network: &Network| {
        let record = verification::auditor(&network.world.state, &account(&copier));
        let bond = record.unwrap().unwrap().bond;
        network.world.balance(&copier).checked_add(bond).unwrap().get() as i128
    };
    let before = wealth(&network);
    network.audit(&claimed, |_| Some(bait.clone()));
    network.play_out(|name, _| (name == "olga").then(|| right.clone()));
    network.world.wait(120_000);
    let lost = before - wealth(&network);
    let rules = network.world.params().verification;
    let price = units::UsdNano::new(units::NANO / 10);
    let pay = verification::math::audit_pay(network.receipt_fee(), price, &rules).unwrap();
    let pay = i128::try_from(pay.get()).unwrap();
    eprintln!("a bait costs {lost}, an audit pays {pay}");
    // Twenty audits are at stake; this one was paid. So a bait in twenty eats what copying saves.
    assert!(lost > 18 * pay, "{lost} for {pay}");
    assert_eq!(network.bond(operator_of("olga", 0)), coins(1_000));
    assert!(network.world.state.scan(&tables::LINES, &(), 1).unwrap().is_empty());
}

/// C16: an operator that wants its bond back sooner signs a wrong answer to a payer of its own and
/// has it challenged by an accomplice. Of what is slashed less than half comes back to the three.
#[test]
fn a_ring_that_challenges_itself_loses_more_than_half_of_what_is_slashed() {
    for fakes in [1, 20] {
        let mut network = Network::new(audited());
        let mut lie = network.right();
        lie.tokens[1] = 500;
        let claimed = network.serve("olga", &copies(&lie, fakes));
        let olga = operator_of("olga", 0);
        let ring = |network: &Network| {
            let own = [network.world.balance("olga"), network.bond(olga)];
            let all =
                [own[0], own[1], network.world.balance("bob"), network.world.balance("gateway")];
            Coin::total(all).unwrap().get()
        };
        let before = ring(&network);
        let finding = network.right().finding();
        for index in 0..fakes {
            let mut subject = Box::new(claimed.opening(index).subject());
            subject.claimed = None; // It is challenged before any claim.
            let challenge = disputes::Tx::Challenge { subject, finding };
            network.world.done("bob", Call::Disputes(challenge));
        }
        // Olga says nothing: her clock runs out, and the bonds of her accomplice come back.
        network.world.wait(120_000);
        let faults = network.faults(olga);
        assert!(!faults.is_empty());
        let taken = faults.iter().fold(0, |sum, fault| sum + fault.spread.taken.get());
        let reported = faults.iter().filter(|fault| fault.reporter == Some(account("bob"))).count();
        assert_eq!(reported, faults.len(), "the accomplice is the reporter");
        let lost = before - ring(&network);
        let share = lost as f64 / taken as f64;
        eprintln!("{fakes} challenges of itself: {share:.3} of what was slashed is lost");
        assert!(share > 0.5, "{share}");
    }
}

/// C12: what becomes of so many honest operators in a year in which a flipped bit is found in their
/// work as often as study and bar assume: one wrong receipt in a million, a thousand receipts a
/// period, of which a hundredth is duplicated and audits see some. Returns how many were hit at
/// all, were hit twice within the memory of faults, and are out for ever.
fn bit_flips(seed: u64, operators: usize) -> [usize; 3] {
    let mut params = faster();
    let rules = &mut params.verification;
    (rules.leaves, rules.auditors, rules.audit_floor) = (1, 1, BasisPoints::WHOLE);
    params.disputes.clock = second(1);
    let mut market = Market::new(params, seed, 0, coins(500), &vec![0; operators]);
    // Faults found in a year: 52.6 flips, each duplicated with 0.01 and seen by an audit with
    // 0.2 · 2 / 1,000. Waits between them are exponential.
    let year = 365.0 * 86_400_000.0 / FASTER as f64;
    let mean = year / (52.56 * (0.01 + 0.000_4));
    let end = market.network.world.clock() + year as u64;
    let wait = |random: &mut Random| {
        let u = (random.next() as f64 + 1.0) / 2.0_f64.powi(64);
        (-u.ln() * mean) as u64
    };
    let start = market.network.world.clock();
    let mut next: Vec<u64> = (0..operators).map(|_| start + wait(&mut market.random)).collect();
    loop {
        let (place, at) = next.iter().copied().enumerate().min_by_key(|(_, at)| *at).unwrap();
        if at >= end {
            break;
        }
        while market.network.world.clock() < at {
            market.network.world.block_after(5_000, &[]).unwrap();
        }
        market.sellers[place].fakes = 1_000_000;
        let found = market.period(|_, seller| usize::from(seller.fakes > 0));
        assert!(found.contains(&place), "the fault that was to be found");
        market.sellers[place].fakes = 0;
        market.network.world.log.clear();
        next[place] = market.network.world.clock() + wait(&mut market.random);
    }
    market.network.world.check();
    let mut counts = [0; 3];
    for seller in &market.sellers {
        let faults = market.network.faults(seller.operator);
        let discipline = staking::discipline(&market.network.world.state, &seller.operator);
        counts[0] += usize::from(!faults.is_empty());
        counts[1] += usize::from(faults.iter().any(|fault| fault.grade != Grade::First));
        counts[2] += usize::from(discipline.unwrap().tombstoned);
    }
    counts
}

#[test]
#[ignore = "takes minutes; run by the soak"]
fn soak_a_box_whose_memory_flips_a_bit_now_and_then_survives_the_year() {
    let fresh = RandomState::new().build_hasher().finish();
    let seed = seed_from_env("LEDGER_SEED", fresh);
    let [hit, twice, out] = bit_flips(seed, 400);
    eprintln!("of 400 boxes {hit} were hit, {twice} twice within 90 days, {out} are out for ever");
    assert!(out == 0 && twice < 40 && hit > 100, "{hit} {twice} {out}");
}
