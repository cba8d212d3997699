// SPDX-License-Identifier: GPL-2.0

//! Scenes: what happens at the same time.

use super::{
    protocol::View as _,
    world::{Judge, World},
};
use crate::{together, Scene};

/// Timers that are never needed: no scene with this runs them.
const NEVER: Judge = Judge {
    late: false,
    patience: 0,
    most: 0,
};

/// A consumer is about to sleep in accept(2) when a connection arrives.
pub(crate) const A_CONSUMER_IS_WOKEN: Scene = Scene {
    preemptions: 3,
    run: || {
        let world = World::new(1, 1, NEVER);
        together(
            &world,
            [
                |world| world.accepts(0, Some(0), 1),
                |world| world.arrives(0, 0),
            ],
        );
        world.has_ended(1);
    },
};

/// The same for one that polls.
pub(crate) const A_POLLER_IS_WOKEN: Scene = Scene {
    preemptions: 3,
    run: || {
        let world = World::new(1, 1, NEVER);
        together(
            &world,
            [
                |world| world.polls(0, Some(0), 1),
                |world| world.arrives(0, 0),
            ],
        );
        world.has_ended(1);
    },
};

/// A task that serves no slot is about to sleep when a connection comes to the socket's own queue.
pub(crate) const A_PLAIN_WAITER_IS_WOKEN: Scene = Scene {
    preemptions: 3,
    run: || {
        let world = World::new(1, 1, NEVER);
        together(
            &world,
            [
                |world| world.accepts(0, None, 1),
                |world| world.overflows(0),
            ],
        );
        world.has_ended(1);
    },
};

/// A consumer, and a task that serves no slot; a connection for the socket's own queue, and one for the slot.
/// Whatever wakes whom, and whoever takes what: neither sleeps while there is something for it.
pub(crate) const A_CONSUMER_AND_A_PLAIN_WAITER: Scene = Scene {
    preemptions: 1,
    run: || {
        let world = World::new(
            1,
            2,
            Judge {
                most: 1,
                ..Judge::default()
            },
        );
        together(
            &world,
            [
                |world| world.accepts(0, Some(0), 1),
                |world| world.accepts(1, None, 1),
                |world| world.runs_timer(0),
                |world| {
                    world.overflows(1);
                    world.arrives(0, 0);
                },
            ],
        );
        world.has_ended(2);
    },
};

/// The same the other way round.
pub(crate) const A_PLAIN_WAITER_AND_A_CONSUMER: Scene = Scene {
    preemptions: 1,
    run: || {
        let world = World::new(
            1,
            2,
            Judge {
                most: 1,
                ..Judge::default()
            },
        );
        together(
            &world,
            [
                |world| world.accepts(0, Some(0), 1),
                |world| world.accepts(1, None, 1),
                |world| world.runs_timer(0),
                |world| {
                    world.arrives(0, 0);
                    world.overflows(1);
                },
            ],
        );
        world.has_ended(2);
    },
};

/// Two tasks serve one slot, and two CPUs queue connections there.
pub(crate) const TWO_CONSUMERS_OF_A_SLOT: Scene = Scene {
    preemptions: 1,
    run: || {
        let world = World::new(1, 2, NEVER);
        together(
            &world,
            [
                |world| world.accepts(0, Some(0), 1),
                |world| world.accepts(1, Some(0), 1),
                |world| world.arrives(0, 0),
                |world| world.arrives(0, 1),
            ],
        );
        world.has_ended(2);
    },
};

/// A consumer is about to sleep when a connection arrives, and somebody else takes that. It hears of the next.
pub(crate) const A_CONSUMER_IS_STOLEN_FROM: Scene = Scene {
    preemptions: 2,
    run: || {
        let world = World::new(1, 1, NEVER);
        together(
            &world,
            [
                |world| world.accepts(0, Some(0), 1),
                |world| {
                    let taken = world.view(0, None).take();
                    taken.into_iter().for_each(|taken| world.arrives(0, taken));
                },
                |world| world.arrives(0, 0),
            ],
        );
        world.has_ended(1);
    },
};

/// One of two consumers is interrupted, maybe after a wake-up that was for the other as well. What it takes all
/// the same comes again.
pub(crate) const A_CONSUMER_IS_INTERRUPTED: Scene = Scene {
    preemptions: 1,
    run: || {
        let world = World::new(1, 2, NEVER);
        together(
            &world,
            [
                |world| {
                    let taken = world.accepts_one(0, Some(0));
                    taken.into_iter().for_each(|taken| world.arrives(0, taken));
                },
                |world| world.accepts(1, Some(0), 1),
                |world| world.arrives(0, 0),
                |world| world.tasks[0].interrupt(),
            ],
        );
        world.has_ended(1);
    },
};

/// Connections of which nobody is told arrive on two CPUs, in a slot that nobody serves: the timer sees each,
/// and pushes them one at a time to a task that serves another slot.
pub(crate) const THE_TIMER_LOOKS_AFTER_ALL: Scene = Scene {
    preemptions: 1,
    run: || {
        let world = World::new(
            2,
            1,
            Judge {
                most: 1,
                ..Judge::default()
            },
        );
        together(
            &world,
            [
                |world| world.accepts(0, Some(1), 2),
                |world| world.runs_timer(0),
                |world| world.arrives_silently(0, 0),
                |world| world.arrives_silently(0, 1),
            ],
        );
        world.has_ended(2);
    },
};

/// A connection is pushed to a task that is about to sleep, and to one that polls.
pub(crate) const WHO_WAITS_AT_THE_SOCKET_IS_WOKEN: Scene = Scene {
    preemptions: 1,
    run: || {
        let world = World::new(
            2,
            2,
            Judge {
                most: 2,
                ..Judge::default()
            },
        );
        world.arrives_silently(0, 0);
        world.arrives_silently(0, 1);
        together(
            &world,
            [
                |world| world.accepts(0, Some(1), 1),
                |world| world.polls(1, Some(1), 1),
                |world| world.runs_timer(0),
            ],
        );
        world.has_ended(2);
    },
};

/// A connection is there all the time: a consumer that looks while it is pushed sees it.
pub(crate) const A_PUSH_HIDES_NOTHING_FROM_POLL: Scene = Scene {
    preemptions: 3,
    run: || {
        let world = World::new(
            1,
            1,
            Judge {
                most: 1,
                ..Judge::default()
            },
        );
        world.arrives_silently(0, 0);
        let looks: fn(&World) = |world| assert!(world.view(0, Some(0)).has_some(), "it was hidden");
        together(&world, [looks, |world| world.ticks(0)]);
    },
};

/// The same when it accepts without waiting.
pub(crate) const A_PUSH_HIDES_NOTHING_FROM_A_CONSUMER: Scene = Scene {
    preemptions: 3,
    run: || {
        let world = World::new(
            1,
            1,
            Judge {
                most: 1,
                ..Judge::default()
            },
        );
        world.arrives_silently(0, 0);
        let takes: fn(&World) =
            |world| assert!(world.view(0, Some(0)).take().is_some(), "it was hidden");
        together(&world, [takes, |world| world.ticks(0)]);
    },
};

/// The same for a task that serves no slot.
pub(crate) const A_PUSH_HIDES_NOTHING_FROM_OTHERS: Scene = Scene {
    preemptions: 3,
    run: || {
        let world = World::new(
            1,
            1,
            Judge {
                most: 1,
                ..Judge::default()
            },
        );
        world.arrives_silently(0, 0);
        let takes: fn(&World) =
            |world| assert!(world.view(0, None).take().is_some(), "it was hidden");
        together(&world, [takes, |world| world.ticks(0)]);
    },
};

/// A slot is loaded. Its consumer comes back, an idle one steals, and its timer pushes.
pub(crate) const AN_IDLE_CONSUMER_STEALS: Scene = Scene {
    preemptions: 1,
    run: || {
        let world = World::new(
            2,
            2,
            Judge {
                late: true,
                patience: 1,
                most: 2,
            },
        );
        world.arrives(0, 0);
        world.arrives(0, 1);
        together(
            &world,
            [
                |world| world.accepts(0, Some(0), 1),
                |world| world.accepts(1, Some(1), 1),
                |world| world.runs_timer(0),
            ],
        );
        world.has_ended(2);
    },
};

/// Two come while the one who serves their CPU does something else, and two consumers of others are about to sleep. There
/// is no timer.
pub(crate) const HELP_IS_CALLED_IN_TIME: Scene = Scene {
    preemptions: 1,
    run: || {
        let world = World::new(3, 2, NEVER);
        together(
            &world,
            [
                |world| world.accepts(0, Some(1), 1),
                |world| world.accepts(1, Some(2), 1),
                |world| {
                    world.arrives_and_calls(0, 0);
                    world.arrives_and_calls(0, 1);
                },
            ],
        );
        world.has_ended(2);
    },
};

/// The socket is closed while one connection arrives, another one is pushed, and a consumer waits.
pub(crate) const NOTHING_IS_LEFT_BEHIND_AT_THE_END: Scene = Scene {
    preemptions: 1,
    run: || {
        let world = World::new(
            1,
            1,
            Judge {
                most: 1,
                ..Judge::default()
            },
        );
        world.arrives_silently(0, 0);
        together(
            &world,
            [
                |world| world.accepts(0, Some(0), 2),
                |world| world.stops(),
                |world| world.arrives(0, 1),
                |world| world.ticks(0),
            ],
        );
        world.has_ended(2);
    },
};
