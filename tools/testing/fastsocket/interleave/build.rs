// SPDX-License-Identifier: GPL-2.0

//! Makes the mutants: copies of the protocol and of what is around it, with one thing changed in each, and a test
//! that some scene fails on it. What is to be changed has to be there, once.

use std::{env, fmt::Write, fs, path::Path};

/// What a lost wake-up, and a timer that nobody armed, come to: all threads wait for each other.
const SLEEPS: &str = "deadlock";
/// What a task overlooks that does not wait.
const HIDDEN: &str = "it was hidden";
const STRANDED: &str = "stranded";

/// What is in stock when nobody is there to settle it.
const STOCK: &str = "left in stock";
const MISCOUNTED: &str = "miscounted";

const PROTOCOL: &str = "protocol.rs";
const CACHE: &str = "cache.rs";
const WORLD: &str = "world.rs";

struct Mutant {
    name: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
    /// The scene that fails, and how.
    scene: &'static str,
    how: &'static str,
}

const fn mutant(
    name: &'static str,
    (file, from, to): (&'static str, &'static str, &'static str),
    (scene, how): (&'static str, &'static str),
) -> Mutant {
    Mutant {
        name,
        file,
        from,
        to,
        scene,
        how,
    }
}

const MUTANTS: &[Mutant] = &[
    // Arrive, and look after.
    mutant(
        "arrives_after_a_look_without_the_lock",
        (
            PROTOCOL,
            "        let mut list = self.lock();\n        // Under the lock: who stops the socket looks here afterwards.\n        if !socket.is_listening() {\n            return Err(connection);\n        }\n",
            "        if !socket.is_listening() {\n            return Err(connection);\n        }\n        let mut list = self.lock();\n",
        ),
        ("NOTHING_IS_LEFT_BEHIND_AT_THE_END", STRANDED),
    ),
    mutant(
        "looks_after_without_a_fence",
        (
            PROTOCOL,
            "or it is seen to be not armed.\n        fence(Ordering::SeqCst);",
            "",
        ),
        ("THE_TIMER_LOOKS_AFTER_ALL", SLEEPS),
    ),
    // The timer.
    mutant(
        "ticks_without_a_fence",
        (
            PROTOCOL,
            "        // Pairs with the one in `look_after`.\n        fence(Ordering::SeqCst);",
            "",
        ),
        ("THE_TIMER_LOOKS_AFTER_ALL", SLEEPS),
    ),
    mutant(
        "ticks_and_does_not_rearm",
        (PROTOCOL, "        self.arm();\n        pushed", "        pushed"),
        ("THE_TIMER_LOOKS_AFTER_ALL", SLEEPS),
    ),
    mutant(
        "pushes_and_wakes_nobody",
        (PROTOCOL, "            self.socket().wake(pushed);\n", ""),
        ("THE_TIMER_LOOKS_AFTER_ALL", SLEEPS),
    ),
    mutant(
        "wakes_before_it_pushes",
        (
            PROTOCOL,
            "            pushed = self.queue().push(self.socket(), most);\n            self.socket().wake(pushed);\n",
            "            self.socket().wake(most);\n            pushed = self.queue().push(self.socket(), most);\n",
        ),
        ("THE_TIMER_LOOKS_AFTER_ALL", SLEEPS),
    ),
    // Hand over.
    mutant(
        "publishes_before_it_appends",
        (
            PROTOCOL,
            "            socket.append(moved);\n            self.published().publish(list.length());\n",
            "            self.published().publish(list.length());\n            socket.append(moved);\n",
        ),
        ("A_PUSH_HIDES_NOTHING_FROM_POLL", HIDDEN),
    ),
    mutant(
        "publishes_without_release",
        (PROTOCOL, "store(length, Ordering::Release)", "store(length, Ordering::Relaxed)"),
        ("A_PUSH_HIDES_NOTHING_FROM_POLL", HIDDEN),
    ),
    mutant(
        "looks_without_acquire",
        (PROTOCOL, "load(Ordering::Acquire)", "load(Ordering::Relaxed)"),
        ("A_PUSH_HIDES_NOTHING_FROM_POLL", HIDDEN),
    ),
    // Look, and take.
    mutant(
        "looks_at_the_sockets_queue_first",
        (
            PROTOCOL,
            "self.slots_have_some() || self.own_has_some()",
            "self.own_has_some() || self.slots_have_some()",
        ),
        ("A_PUSH_HIDES_NOTHING_FROM_POLL", HIDDEN),
    ),
    mutant(
        "takes_from_the_sockets_queue_first",
        (
            PROTOCOL,
            "            .or_else(|| self.take_near())\n            .or_else(|| self.take_own())\n            .or_else(|| self.take_others())\n            // What was moved there meanwhile.\n            .or_else(|| self.take_own())",
            "            .or_else(|| self.take_own())\n            .or_else(|| self.take_near())\n            .or_else(|| self.take_others())",
        ),
        ("A_PUSH_HIDES_NOTHING_FROM_A_CONSUMER", HIDDEN),
    ),
    mutant(
        "takes_from_others_last",
        (
            PROTOCOL,
            "            // What was moved there meanwhile.\n            .or_else(|| self.take_own())",
            "",
        ),
        ("A_PUSH_HIDES_NOTHING_FROM_OTHERS", HIDDEN),
    ),
    mutant(
        "takes_without_publishing",
        (
            PROTOCOL,
            "        let connection = list.pop()?;\n        self.published().publish(list.length());",
            "        let connection = list.pop()?;",
        ),
        ("A_PLAIN_WAITER_AND_A_CONSUMER", STRANDED),
    ),
    // Wake-ups that were for others.
    mutant(
        "accepts_and_keeps_wake_ups",
        (PROTOCOL, "taken.is_some() && slept", "taken.is_some() && false"),
        ("A_CONSUMER_AND_A_PLAIN_WAITER", SLEEPS),
    ),
    mutant(
        "is_interrupted_and_keeps_wake_ups",
        (
            PROTOCOL,
            "                self.pass_wakes_on();\n                return Err(err);",
            "                return Err(err);",
        ),
        ("A_CONSUMER_IS_INTERRUPTED", SLEEPS),
    ),
    // Help.
    mutant(
        "calls_without_a_fence",
        (
            PROTOCOL,
            "or sees that it is loaded.\n        fence(Ordering::SeqCst);",
            "",
        ),
        ("HELP_IS_CALLED_IN_TIME", SLEEPS),
    ),
    mutant(
        "calms_and_calls_nobody",
        (
            PROTOCOL,
            "        if self.settle() {\n            // Who was woken for that one may have looked while it was not loaded.\n            self.call();\n        }",
            "        self.settle();",
        ),
        ("HELP_IS_CALLED_IN_TIME", SLEEPS),
    ),
    mutant(
        "calms_and_does_not_look_again",
        (PROTOCOL, "let some = !self.queue().is_empty();", "let some = false;"),
        ("HELP_IS_CALLED_IN_TIME", SLEEPS),
    ),
    // The end.
    mutant(
        "stops_to_listen_last",
        (
            WORLD,
            "        self.socket.listens.store(false, Ordering::Release);\n        protocol::stop(self.slots.iter().map(|slot| &slot.queue), &self.socket);\n",
            "        protocol::stop(self.slots.iter().map(|slot| &slot.queue), &self.socket);\n        self.socket.listens.store(false, Ordering::Release);\n",
        ),
        ("NOTHING_IS_LEFT_BEHIND_AT_THE_END", STRANDED),
    ),
    mutant(
        "stops_before_the_slots_are_empty",
        (
            WORLD,
            "        protocol::stop(self.slots.iter().map(|slot| &slot.queue), &self.socket);\n        while let Some(connection) = self.socket.take() {\n            self.end(connection);\n        }\n",
            "        while let Some(connection) = self.socket.take() {\n            self.end(connection);\n        }\n        protocol::stop(self.slots.iter().map(|slot| &slot.queue), &self.socket);\n",
        ),
        ("NOTHING_IS_LEFT_BEHIND_AT_THE_END", STRANDED),
    ),
    // What the kernel's wait queues give, and the protocol needs.
    mutant(
        "wakes_without_a_barrier",
        (
            WORLD,
            "        fence(Ordering::SeqCst);\n        if !self.active",
            "        if !self.active",
        ),
        ("A_PLAIN_WAITER_IS_WOKEN", SLEEPS),
    ),
    mutant(
        "sleeps_without_a_barrier",
        (
            WORLD,
            "        self.asleep.store(true, Ordering::Relaxed);\n        fence(Ordering::SeqCst);",
            "        self.asleep.store(true, Ordering::Relaxed);",
        ),
        ("A_CONSUMER_IS_WOKEN", SLEEPS),
    ),
    mutant(
        "polls_without_a_barrier",
        (
            WORLD,
            "        self.asleep.store(true, Ordering::Relaxed);\n        fence(Ordering::SeqCst);",
            "        self.asleep.store(true, Ordering::Relaxed);",
        ),
        ("A_POLLER_IS_WOKEN", SLEEPS),
    ),
    mutant(
        "looks_before_it_registers",
        (
            WORLD,
            "        if let Some(own) = self.own {\n            own.waiters.add_exclusive(self.task);\n        }\n        socket.waiters.add_exclusive(self.task);\n        self.task.set_asleep();\n        let ready = self.has_some();\n",
            "        let ready = self.has_some();\n        if let Some(own) = self.own {\n            own.waiters.add_exclusive(self.task);\n        }\n        socket.waiters.add_exclusive(self.task);\n        self.task.set_asleep();\n",
        ),
        ("A_CONSUMER_IS_WOKEN", SLEEPS),
    ),
    mutant(
        "is_asleep_between_its_wait_queues",
        (
            WORLD,
            "            own.waiters.add_exclusive(self.task);\n        }\n        socket.waiters.add_exclusive",
            "            own.waiters.add_exclusive(self.task);\n            self.task.set_asleep();\n        }\n        socket.waiters.add_exclusive",
        ),
        ("A_CONSUMER_IS_STOLEN_FROM", SLEEPS),
    ),
    mutant(
        "passes_no_wake_up_on_at_the_slot",
        (
            WORLD,
            "        if let Some(own) = self.own.filter(|own| !own.queue.is_empty()) {\n            own.waiters.wake(1);\n        }\n",
            "",
        ),
        ("A_CONSUMER_IS_INTERRUPTED", SLEEPS),
    ),
    mutant(
        "passes_no_wake_up_on_at_the_socket",
        (
            WORLD,
            "        if !self.world.socket.is_empty() {\n            self.world.socket.waiters.wake(1);\n        }\n",
            "",
        ),
        ("A_CONSUMER_AND_A_PLAIN_WAITER", SLEEPS),
    ),
    // A cache of references.
    mutant(
        "gives_without_order",
        (
            CACHE,
            "            match cell.compare_exchange(stock, keep, Ordering::AcqRel, Ordering::Relaxed) {",
            "            match cell.compare_exchange(stock, keep, Ordering::Relaxed, Ordering::Relaxed) {",
        ),
        ("ALL_IS_GIVEN_BACK", STOCK),
    ),
    mutant(
        "settles_without_order",
        (
            CACHE,
            "all.saturating_add(cell.swap(0, Ordering::AcqRel))",
            "all.saturating_add(cell.swap(0, Ordering::Relaxed))",
        ),
        ("ALL_IS_GIVEN_BACK", STOCK),
    ),
    mutant(
        "settles_too_late",
        (
            CACHE,
            "        self.settled.store(1, Ordering::Relaxed);\n        let mut all = 0_u32;\n        self.cells\n            .each(|cell| all = all.saturating_add(cell.swap(0, Ordering::AcqRel)));\n",
            "        let mut all = 0_u32;\n        self.cells\n            .each(|cell| all = all.saturating_add(cell.swap(0, Ordering::AcqRel)));\n        self.settled.store(1, Ordering::Relaxed);\n",
        ),
        ("ALL_IS_GIVEN_BACK", STOCK),
    ),
    mutant(
        "gives_and_does_not_look_again",
        (
            CACHE,
            "        if self.is_settled() {\n            return surplus.saturating_add(cell.swap(0, Ordering::AcqRel));\n        }\n",
            "",
        ),
        ("ALL_IS_GIVEN_BACK", STOCK),
    ),
    mutant(
        "takes_what_another_takes",
        (
            CACHE,
            "                Ok(_) => return 0,\n",
            "                _ => return 0,\n",
        ),
        ("TWO_WANT_THE_SAME", MISCOUNTED),
    ),
    mutant(
        "forgets_some_of_too_many",
        (
            CACHE,
            "    (BATCH, sum.saturating_sub(BATCH))\n",
            "    (BATCH, 0)\n",
        ),
        ("ONE_TOO_MANY_IS_GIVEN", MISCOUNTED),
    ),
];

fn main() {
    let here = env::var("CARGO_MANIFEST_DIR").expect("set by cargo");
    let out = env::var("OUT_DIR").expect("set by cargo");
    let path = |file| match file {
        PROTOCOL => format!("{here}/../../../../net/fastsocket/listen/{file}"),
        CACHE => format!("{here}/../../../../net/fastsocket/refs/{file}"),
        _ => format!("{here}/src/{file}"),
    };
    let source = |file| fs::read_to_string(path(file)).expect("the file is there");
    for file in [PROTOCOL, CACHE, WORLD] {
        println!("cargo::rerun-if-changed={}", path(file));
    }

    let mut tests = String::new();
    for mutant in MUTANTS {
        let Mutant {
            name,
            file,
            from,
            to,
            scene,
            how,
        } = mutant;
        let before = source(file);
        assert_eq!(
            before.matches(from).count(),
            1,
            "{name}: what it changes is not there once"
        );
        let dir = Path::new(&out).join(name);
        fs::create_dir_all(&dir).expect("the directory can be made");
        for other in [PROTOCOL, CACHE, WORLD] {
            let text = if other == *file {
                before.replace(from, to)
            } else {
                source(other)
            };
            fs::write(dir.join(other), text).expect("the file can be written");
        }
        write!(
            tests,
            "#[allow(dead_code, unused, clippy::all)]
            mod {name} {{
                #[path = {cache:?}]
                mod cache;
                #[path = {counter:?}]
                mod counter;
                #[path = {models:?}]
                mod models;
                #[path = {prim:?}]
                mod prim;
                #[path = {protocol:?}]
                mod protocol;
                #[path = {world:?}]
                mod world;

                #[test]
                fn is_noticed() {{
                    crate::fails({room}::{scene}, {how:?});
                }}
            }}\n",
            room = if *file == CACHE { "counter" } else { "models" },
            cache = dir.join(CACHE),
            counter = path("counter.rs"),
            models = path("models.rs"),
            prim = path("prim.rs"),
            protocol = dir.join(PROTOCOL),
            world = dir.join(WORLD),
        )
        .expect("a string takes all");
    }
    fs::write(Path::new(&out).join("mutants.rs"), tests).expect("the file can be written");
}
