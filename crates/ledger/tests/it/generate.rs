//! Random operations over the whole ledger: mostly such as people would send, often at an edge,
//! now and then wrong in one way.

use crate::{
    random::Random,
    testing::{World, account, digest, key, operator_of, public, sign},
};
use crypto::{ChainId, Digest, ModelId, OperatorId, PublicKey, Signed};
use ledger::{
    Authorized, Call, Ed25519, ModelFacts, Reach, Read, Task, Transaction, accounts, credits,
    models, payments, payments::messages::*, staking, tables,
};
use std::collections::BTreeMap;
use units::{Coin, Credit, Epoch, List, Millis, Nonce, Text, WorkUnits};

/// Everybody: the first five hold coin from the start, the rest may be opened.
pub(crate) const PEOPLE: [&str; 8] =
    ["alice", "bob", "gateway", "olga", "otto", "carol", "dave", "erin"];
/// Hot keys: any of them may be anybody's session.
pub(crate) const HOT: [&str; 4] = ["hot-0", "hot-1", "hot-2", "hot-3"];

/// What the payers of a lane have promised beyond what was claimed.
pub(crate) struct Generator {
    pub(crate) random: Random,
    /// Nonces used in the block being made.
    nonces: BTreeMap<(&'static str, &'static str), u64>,
    published: u64,
}

impl Generator {
    pub(crate) const fn new(random: Random) -> Self {
        Self { random, nonces: BTreeMap::new(), published: 0 }
    }

    /// Up to `most` transactions for the next block of `world`.
    pub(crate) fn block(&mut self, world: &World, most: u64) -> Vec<Authorized<Transaction>> {
        self.nonces.clear();
        let count = self.random.below(most + 1);
        (0..count).map(|_| self.transaction(world)).collect()
    }

    fn transaction(&mut self, world: &World) -> Authorized<Transaction> {
        let name = self.person();
        let (name, call) = match self.random.below(20) {
            19 if self.random.once_in(4) => (name, self.reclaim(world)),
            0..4 => (name, self.accounts(world)),
            4..7 => (name, self.credits(world, name)),
            7..10 => (name, self.staking(world, name)),
            10 => (name, self.models()),
            11..16 => (name, self.payments(world, name)),
            _ => self.claim(world),
        };
        let signer = if self.random.once_in(4) { self.session(world, name) } else { name };
        let next = accounts::next_nonce(&world.state, &account(name), &public(signer)).unwrap();
        let ahead = self.nonces.entry((name, signer)).or_default();
        let mut nonce = next.get() + *ahead;
        match self.random.below(40) {
            0 => nonce = nonce.wrapping_sub(1),
            1 => nonce = nonce.wrapping_add(1),
            _ => *ahead += 1,
        }
        let transaction = Transaction {
            chain: world.chain,
            account: account(name),
            signer: public(signer),
            nonce: Nonce::new(nonce),
            valid_until: units::Height::new(world.now().height.get() + 50),
            call,
        };
        sign(transaction, signer).authorize(&Ed25519).unwrap()
    }

    /// Mostly somebody who holds coin from the start.
    fn person(&mut self) -> &'static str {
        let known = if self.random.once_in(6) { PEOPLE.len() } else { 5 };
        self.random.pick(&PEOPLE[..known])
    }

    /// Mostly a hot key that the account has granted.
    fn session(&mut self, world: &World, name: &'static str) -> &'static str {
        let lives = |hot: &&str| {
            let session = accounts::session(&world.state, &account(name), &public(hot));
            session.unwrap().is_some_and(|session| session.is_live(world.now().clock))
        };
        let live: Vec<&str> = HOT.into_iter().filter(lives).collect();
        match live.as_slice() {
            [] if self.random.once_in(8) => self.hot(),
            [] => name,
            _ if self.random.once_in(8) => self.hot(),
            live => self.random.pick(live),
        }
    }

    /// Mostly an operator that is registered.
    fn registered(&mut self, world: &World) -> OperatorId {
        let known = world.state.scan(&tables::OPERATORS, &(), 100).unwrap();
        let known: Vec<OperatorId> = known.into_iter().map(|(id, _)| id).collect();
        if known.is_empty() || self.random.once_in(12) {
            let owner = self.person();
            return operator_of(owner, self.random.below(2) as u32);
        }
        self.random.pick(&known)
    }

    fn hot(&mut self) -> &'static str {
        self.random.pick(&HOT)
    }

    /// A point on the clock: mostly ahead.
    fn point(&mut self, world: &World, reach: u64) -> Millis {
        let clock = world.clock();
        match self.random.below(12) {
            0 => Millis::new(clock.saturating_sub(1)),
            1 => Millis::new(clock + 40 * 86_400_000),
            _ => Millis::new(clock + self.random.below(reach)),
        }
    }

    fn some_key(&mut self) -> PublicKey {
        if self.random.once_in(20) {
            let mut identity = [0; 32];
            identity[0] = 1;
            return PublicKey::new(identity);
        }
        public(if self.random.once_in(5) { self.person() } else { self.hot() })
    }

    fn accounts(&mut self, world: &World) -> Call {
        Call::Accounts(match self.random.below(5) {
            0..3 => {
                let to = account(self.person());
                let amount = Coin::new(self.random.amount(200_000_000_000_000));
                accounts::Tx::Transfer { to, amount }
            }
            3 => accounts::Tx::GrantSession {
                key: self.some_key(),
                fee_cap: Coin::new(self.random.amount(20_000_000)),
                spend_cap: Credit::new(self.random.amount(50_000_000_000)),
                expires: self.point(world, 900_000),
            },
            _ => accounts::Tx::RevokeSession { key: self.some_key() },
        })
    }

    fn credits(&mut self, world: &World, name: &str) -> Call {
        let limit = |random: &mut Random| if random.once_in(6) { 1_u128 << 60 } else { 0 };
        Call::Credits(if self.random.once_in(3) {
            let free = world.holding(name).free.get();
            credits::Tx::Redeem {
                amount: Credit::new(self.random.amount(free)),
                at_least: Coin::new(limit(&mut self.random)),
            }
        } else {
            credits::Tx::Mint {
                coin: Coin::new(self.random.amount(2_000_000_000_000)),
                at_least: Credit::new(limit(&mut self.random)),
            }
        })
    }

    /// Mostly one of the sender's operators.
    fn operator(&mut self, name: &str) -> OperatorId {
        let owner = if self.random.once_in(8) { self.person() } else { name };
        operator_of(owner, self.random.below(2) as u32)
    }

    fn profile(&mut self) -> staking::Profile {
        let model = |n: u64| ModelId::new(digest(&n.to_string()));
        let models = (0..self.random.below(3)).map(|_| model(self.random.below(9))).collect();
        staking::Profile {
            endpoint: Text::new("somewhere").unwrap(),
            models: List::new(models).unwrap(),
        }
    }

    fn staking(&mut self, world: &World, name: &str) -> Call {
        let operator = self.operator(name);
        let bonded = staking::operator(&world.state, &operator).unwrap().map(|it| it.bond);
        let bonded = bonded.unwrap_or_default().get();
        let class = self.random.pick(&staking::Class::ALL);
        Call::Staking(match self.random.below(10) {
            0..3 => staking::Tx::Register(staking::Registration {
                index: self.random.below(2) as u32,
                box_key: self.some_key(),
                class,
                profile: self.profile(),
                bond: Coin::new(self.random.amount(5_000_000_000_000)),
            }),
            3 => staking::Tx::Bond {
                operator,
                amount: Coin::new(self.random.amount(1_000_000_000_000)),
            },
            4..7 => staking::Tx::Unbond { operator, amount: Coin::new(self.random.amount(bonded)) },
            7 => staking::Tx::RotateBoxKey { operator, box_key: self.some_key() },
            8 => staking::Tx::SetClass { operator, class },
            _ => staking::Tx::SetProfile { operator, profile: self.profile() },
        })
    }

    fn models(&mut self) -> Call {
        self.published += 1;
        let serial = |random: &mut Random, fresh: u64| {
            let serial = if random.once_in(3) { random.below(fresh) } else { fresh };
            serial.to_string()
        };
        let model = serial(&mut self.random, self.published);
        let weights = serial(&mut self.random, self.published);
        let facts = ModelFacts {
            model: ModelId::new(digest(&model)),
            semantics: 0,
            task: Task::Generate,
            graph_root: digest("graph"),
            weight_root: digest(&format!("weights {weights}")),
            preprocess: digest("preprocess"),
            reach: Reach::Causal,
            per_position: 1,
            per_output: 2,
            per_pair: 3,
            blocks: 4,
            max_input: 5,
            max_positions: 6,
            vocabulary: 7,
            width: 8,
        };
        let name = if self.random.once_in(9) { "Bad".to_owned() } else { format!("m{model}") };
        let graph = vec![0; self.random.below(5) as usize];
        let publisher = self.random.pick(&["acme", "best", "copy"]);
        Call::Models(models::Tx::Publish(models::Publication {
            publisher: Text::new(publisher).unwrap(),
            name: Text::new(name).unwrap(),
            manifest: ledger::bytes::Bytes::new(borsh::to_vec(&facts).unwrap()).unwrap(),
            graph: ledger::bytes::Bytes::new(graph).unwrap(),
        }))
    }

    fn payments(&mut self, world: &World, name: &'static str) -> Call {
        let record = payments::deposit(&world.state, &account(name)).unwrap();
        let unreserved = record.balance.get() - record.reserved.get();
        Call::Payments(match self.random.below(8) {
            0 | 1 => {
                let free = world.holding(name).free.get();
                payments::Tx::Deposit { amount: Credit::new(self.random.amount(free)) }
            }
            2 => payments::Tx::Withdraw { amount: Credit::new(self.random.amount(unreserved)) },
            3..7 => {
                let wrong = self.random.once_in(10);
                let signer = match self.random.below(6) {
                    0 => self.some_key(),
                    1 | 2 => public(self.session(world, name)),
                    _ => public(name),
                };
                payments::Tx::Allocate {
                    allocation: record.next_allocation + u64::from(wrong),
                    operator: self.registered(world),
                    signer,
                    limit: Credit::new(self.random.amount(unreserved)),
                    expires: self.point(world, 200_000),
                }
            }
            _ => {
                let allocation = self.random.below(record.next_allocation + 1);
                let old = payments::allocation(&world.state, &account(name), allocation).unwrap();
                let limit = old.map_or(0, |old| old.limit.get());
                payments::Tx::Extend {
                    allocation,
                    limit: Credit::new(limit + self.random.amount(unreserved)),
                    expires: self.point(world, 300_000),
                }
            }
        })
    }

    /// A lane of a claim that was filed, or was not.
    fn reclaim(&mut self, world: &World) -> Call {
        let claims = world.state.scan(&tables::CLAIMS, &(), 1_000).unwrap();
        let known: Vec<_> = claims.into_iter().map(|(key, _)| key).collect();
        let (operator, epoch) = match known.as_slice() {
            [] => (self.registered(world), Epoch::ZERO),
            known => self.random.pick(known),
        };
        let payer = account(self.person());
        let range = payments::LaneRange { payer, lane: 0, first: 1, last: 1, delta: Credit::ZERO };
        let range_path = crypto::merkle::RangeProof::new(&[range.leaf()], 0..1).unwrap();
        let reclaim = payments::Reclaim { operator, epoch, range, lane_index: 0, range_path };
        Call::Payments(payments::Tx::Reclaim(Box::new(reclaim)))
    }

    /// A claim of some operator over lanes of those who have promised it something.
    fn claim(&mut self, world: &World) -> (&'static str, Call) {
        let operator = self.registered(world);
        let owns = |name: &&str| (0..2).any(|index| operator_of(name, index) == operator);
        let owner = PEOPLE.into_iter().find(owns).unwrap_or("bob");
        let owner = if self.random.once_in(20) { self.person() } else { owner };
        let promised = world.state.scan(&tables::ALLOCATIONS, &(), 1_000).unwrap();
        let mut lanes = Vec::new();
        for ((payer, allocation), promise) in promised {
            let foreign = self.random.once_in(30);
            if (promise.operator != operator && !foreign) || self.random.once_in(4) {
                continue;
            }
            let names = PEOPLE.iter().chain(&HOT);
            let Some(signer) = names.clone().find(|name| public(name) == promise.signer) else {
                continue;
            };
            let index = self.random.below(3) as u32;
            let id = LaneId { payer, operator, index };
            let left = promise.left().unwrap().get();
            lanes.push(self.lane(world, id, allocation, signer, left));
        }
        lanes.sort_by_key(|lane| lane.voucher.message.lane_id());
        if !self.random.once_in(20) {
            lanes.dedup_by_key(|lane| lane.voucher.message.lane_id());
        }
        let claim = self.assemble(world, operator, lanes);
        (owner, Call::Payments(payments::Tx::FileClaim(claim)))
    }

    fn assemble(&mut self, world: &World, operator: OperatorId, lanes: Vec<LaneClaim>) -> Claim {
        let fee = lanes.iter().fold(0_u128, |sum, lane| sum + lane.delta.get());
        let count = lanes.iter().fold(0_u64, |sum, lane| {
            sum.wrapping_add(lane.last.wrapping_sub(lane.first)).wrapping_add(1)
        });
        let epoch = world.clock() / world.params().windows.epoch.get();
        let epoch = if self.random.once_in(8) { epoch } else { epoch.saturating_sub(1) };
        let record = staking::operator(&world.state, &operator).unwrap();
        let key_epoch = record.map_or(0, |it| it.key_epoch);
        let old = self.random.once_in(6);
        let (wrong_fee, wrong_count) = (self.random.once_in(20), self.random.once_in(20));
        Claim {
            operator,
            key_epoch: if old { key_epoch.saturating_sub(1) } else { key_epoch },
            epoch: Epoch::new(epoch),
            root: digest("root"),
            totals: crypto::merkle_sum::Sums {
                fee: Credit::new(fee + u128::from(wrong_fee)),
                work: WorkUnits::new(1),
                count: count + u64::from(wrong_count),
            },
            lanes: List::new(lanes).unwrap(),
            canary_only: self.random.once_in(4),
        }
    }

    fn lane(
        &mut self,
        world: &World,
        id: LaneId,
        allocation: u64,
        signer: &str,
        left: u128,
    ) -> LaneClaim {
        let old = payments::lane(&world.state, &id).unwrap();
        let delta = match self.random.below(12) {
            0 => left,
            1 => left + 1,
            2 => 0,
            3 => 999,
            _ => u128::from(self.random.next()) % (left / 3 + 1_001),
        };
        let first = old.sequence + 1;
        let last = first + self.random.below(5);
        let acknowledgement = Acknowledgement {
            receipt: digest("receipt"),
            t_sent: Millis::new(self.random.below(1_000)),
            t_first: Millis::new(2),
            t_done: Millis::new(3),
        };
        let mut voucher = Voucher {
            chain: world.chain,
            payer: id.payer,
            session_key: public(signer),
            operator: id.operator,
            lane: id.index,
            allocation,
            cumulative: Credit::new(old.cumulative.get() + delta),
            sequence: last,
            acknowledgement: Some(acknowledgement),
        };
        self.spoil_before_signing(&mut voucher);
        let Signed { message, signature } = voucher.sign(&key(signer));
        let mut lane = LaneClaim {
            voucher: Signed { message, signature },
            first,
            last,
            delta: Credit::new(delta),
        };
        self.spoil_after_signing(&mut lane);
        lane
    }

    /// What a dishonest or broken payer might sign.
    fn spoil_before_signing(&mut self, voucher: &mut Voucher) {
        match self.random.below(150) {
            0 => voucher.chain = ChainId::new(Digest::ZERO),
            1 => voucher.allocation += 1,
            2 => voucher.acknowledgement = None,
            3 => voucher.sequence += 1,
            4 => voucher.session_key = public("stranger"),
            _ => {}
        }
    }

    /// What a dishonest operator might make of it.
    fn spoil_after_signing(&mut self, lane: &mut LaneClaim) {
        match self.random.below(150) {
            0 => lane.voucher.message.lane += 1,
            1 => lane.first += 1,
            2 => lane.delta = Credit::new(lane.delta.get() + 1),
            3 => {
                if let Some(known) = lane.voucher.message.acknowledgement.as_mut() {
                    known.receipt = digest("another");
                }
            }
            _ => {}
        }
    }
}
