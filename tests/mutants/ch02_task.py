"""Answers to the exercises of chapter 2."""

from mutants.answers import right, wrong

# ---- 2.1 pairs that differ in one fact ----


def paired(fact, frame, names, n, random, draw=None, order=None, corrupt=None):
    """What a wrong answer does differently: how it draws, orders, and corrupts."""
    pairs = []
    for i in range(n):
        io, s, x, y, z = draw() if draw else random.sample(names, 5)
        first = [(io, s), (s, io)][order(i) if order else i % 2]
        made = {"repetition": (*first, x), "who": (*first, io), "names": (x, y, z)}
        made |= corrupt(first, io, s) if corrupt else {}
        pairs.append((frame.format(*first, s), frame.format(*made[fact])))
    return pairs


@right("2.1")
def one_name_after_another(fact, frame, names, n, random):
    pairs = []
    while len(pairs) < n:
        left = list(names)
        random.shuffle(left)
        two = [left.pop(), left.pop()]
        giver = 1 if len(pairs) % 2 == 0 else 0
        if fact == "names":
            other = [left.pop(), left.pop(), left.pop()]
        else:
            other = [*two, left.pop() if fact == "repetition" else two[1 - giver]]
        pairs.append([frame.format(*two, two[giver]), frame.format(*other)])
    return tuple(pairs)


@wrong("2.1", "may be taken already")
def drew_each_by_itself(fact, frame, names, n, random):
    return paired(fact, frame, names, n, random, lambda: random.choices(names, k=5))


@wrong("2.1", "the names of the corrupt prompt are drawn by themselves")
def drew_the_others_anew(fact, frame, names, n, random):
    def draw():
        return [*random.sample(names, 2), *random.choices(names, k=3)]

    return paired(fact, frame, names, n, random, draw)


@wrong("2.1", "expected")
def other_names_that_may_be_io(fact, frame, names, n, random):
    def draw():
        io, s = random.sample(names, 2)
        return [io, s, *random.sample([name for name in names if name != s], 3)]

    return paired(fact, frame, names, n, random, draw)


@wrong("2.1", "all pairs have the same names")
def always_the_same_names(fact, frame, names, n, random):
    return paired(fact, frame, names, n, random, lambda: names[:5])


@wrong("2.1", "all pairs have the same names")
def drew_once(fact, frame, names, n, random):
    once = random.sample(names, 5)
    return paired(fact, frame, names, n, random, lambda: once)


@wrong("2.1", "ABBA and BABA have changed places")
def the_other_order_first(fact, frame, names, n, random):
    return paired(fact, frame, names, n, random, order=lambda i: (i + 1) % 2)


@wrong("2.1", "all pairs are ABBA")
def only_abba(fact, frame, names, n, random):
    return paired(fact, frame, names, n, random, order=lambda i: 0)


@wrong("2.1", "the first half of the pairs is ABBA")
def half_and_half(fact, frame, names, n, random):
    return paired(fact, frame, names, n, random, order=lambda i: i >= n // 2)


@wrong("2.1", "repetition and who have changed places")
def mixed_up_the_facts(fact, frame, names, n, random):
    fact = {"repetition": "who", "who": "repetition"}.get(fact, fact)
    return paired(fact, frame, names, n, random)


@wrong("2.1", "the first two names are exchanged, and the giver stays")
def exchanged_the_wrong_ones(fact, frame, names, n, random):
    def corrupt(first, io, s):
        return {"who": (first[1], first[0], s)}

    return paired(fact, frame, names, n, random, corrupt=corrupt)


@wrong("2.1", "expected")
def never_uses_the_last_name(fact, frame, names, n, random):
    some = names[:-1] if len(names) > 5 else names
    return paired(fact, frame, some, n, random)


@wrong("2.1", "not the frame with three names")
def forgot_the_last_word(fact, frame, names, n, random):
    pairs = paired(fact, frame, names, n, random)
    return [(clean + " " + names[0], corrupt) for clean, corrupt in pairs]


@wrong("2.1", "changed its argument names in place")
def used_up_the_names(fact, frame, names, n, random):
    random.shuffle(names)
    return paired(fact, frame, names, n, random)
