/* SPDX-License-Identifier: Apache-2.0
 *
 * Who owns a region that is being moved (r3-protocol(7), MIGRATION; libcommon/net/seeder.hpp, leecher.hpp): a seeder,
 * two leechers that both may finalize, requests and answers that are lost or repeated, leases that end at
 * any moment, processes that are killed and started again with what their records on disk say. For each rule
 * there is a macro (-D NO_...) that drops it; tests/model/check wants a counterexample then.
 *
 * Two things are proven: an application can write on at most one side at any time and finds there all that
 * was ever written; and when nothing happens any more, it can write on exactly one side. All faults and
 * attempts are counted, so that every run ends: that is "never none for ever". Not in here: how the bytes
 * get across (tracking.pml).
 */
#define L 2
#define EACH(action) l = 0; do :: l < L -> action; l++ :: else -> break od; l = 0

mtype = { none, finalize, commit, abort, finalized, committed, refused };
#define SEEDING 0    /* the seeder's record and phase */
#define SUSPENDED 1
#define GIVEN 2
#define PULLING 0    /* a leecher's */
#define FINALIZING 1
#define COMMITTING 2
#define OWNER 3

/* The seeder: record on disk, then what a kill takes. */
byte s_record, s_record_token, s_given;
bit s_up;
byte s_phase, s_token, s_leecher;
byte s_value;            /* what its region holds: the number of the last write in it */

/* The leechers, likewise. */
byte l_record[L];
bit l_up[L];
byte l_phase[L], l_token[L], l_attempts[L];
byte l_value[L];         /* of the region as the leecher sees it from FINALIZE on */

/* The link: one request and one answer on the way for each leecher. */
mtype q[L] = none, a[L] = none;
byte q_token[L], a_token[L], a_value[L];

byte value;              /* the number of the last write that an application was told of */
byte tokens;             /* drawn so far: no two are the same */
byte kills, losses, repeats;
byte l;

#ifndef KILLS
#define KILLS 2
#endif
#define WRITES 2

inline check() {
  assert((s_up && s_phase == SEEDING) + (l_up[0] && l_phase[0] == OWNER) +
         (l_up[1] && l_phase[1] == OWNER) <= 1);
  EACH(assert(!(l_up[l] && l_phase[l] == OWNER) || l_value[l] == value));
  assert(!(s_up && s_phase == SEEDING) || s_value == value)
}

inline check_end() {
  assert((s_up && s_phase == SEEDING) + (l_up[0] && l_phase[0] == OWNER) +
         (l_up[1] && l_phase[1] == OWNER) == 1)
}

/* What no step looks at any more is 0, so that states that are alike are the same. */
inline answer(i, what) {
  a[i] = what;
  a_token[i] = (what == finalized -> s_token : 0);
  a_value[i] = (what == refused -> 0 : s_value)
}

inline no_answer(i) { a[i] = none; a_token[i] = 0; a_value[i] = 0 }
inline no_request(i) { q[i] = none; q_token[i] = 0 }

/* What a request does; `gone` 0: it arrives once more later. */
inline receive(i, gone) {
  if
  :: q[i] == finalize ->
    if
#ifndef NO_GIVEN_REFUSES
    :: s_phase == GIVEN -> answer(i, refused)
#endif
    :: s_phase == SUSPENDED && s_leecher == i -> answer(i, finalized)
    :: s_phase == SUSPENDED && s_leecher != i -> answer(i, refused)
    :: else ->
      tokens++; s_token = tokens; s_leecher = i;
      s_record = SUSPENDED; s_phase = SUSPENDED;
      answer(i, finalized)
    fi
  :: q[i] == commit ->
    if
    /* Without a token it only asks whether the region is its own. */
    :: s_phase == GIVEN && (q_token[i] == s_record_token || q_token[i] == 0 && s_given == i) ->
      answer(i, committed)
#ifdef NO_TOKEN
    :: s_phase == SUSPENDED && s_leecher == i ->
#else
    :: s_phase == SUSPENDED && q_token[i] == s_token ->
#endif
#ifndef NO_RECORD_GIVEN
      s_record = GIVEN; s_record_token = q_token[i]; s_given = i;
#endif
      s_phase = GIVEN;
      answer(i, committed)
    :: else -> answer(i, refused)
    fi
  :: q[i] == abort ->
    if :: s_phase == SUSPENDED && s_leecher == i -> resume() :: else fi
  fi;
  if :: gone -> no_request(i) :: else -> repeats++ fi
}

inline resume() { s_phase = SEEDING; s_record = SEEDING; s_token = 0; s_leecher = 0 }

inline start_seeder() {
  s_up = 1; s_token = 0;
  s_phase = s_record;
  if :: s_phase == SUSPENDED -> resume() :: else fi
}

inline stop_leecher(i) {
  l_up[i] = 0; l_phase[i] = PULLING; l_token[i] = 0;
  if :: l_record[i] != OWNER -> l_value[i] = 0 :: else fi;
  no_answer(i)
}

inline start_leecher(i) {
  l_up[i] = 1;
  l_phase[i] = l_record[i];
  l_token[i] = 0
}

inline take_answer(i) {
  if
  :: a[i] == finalized && l_phase[i] == FINALIZING ->
    l_token[i] = a_token[i]; l_value[i] = a_value[i];
#ifdef NO_WAIT_FOR_COMMIT
    l_record[i] = OWNER; l_phase[i] = OWNER
#else
    l_phase[i] = COMMITTING
#endif
  :: a[i] == committed && l_phase[i] == COMMITTING ->
    if :: l_token[i] == 0 -> l_value[i] = a_value[i] :: else fi; /* started again: all comes from there */
    l_record[i] = OWNER; l_phase[i] = OWNER
  :: a[i] == refused && (l_phase[i] == FINALIZING || l_phase[i] == COMMITTING) ->
    l_record[i] = PULLING; l_phase[i] = PULLING; l_token[i] = 0; l_value[i] = 0
  :: else
  fi;
  no_answer(i)
}

inline ask(i, what) { q[i] = what; q_token[i] = (what == commit -> l_token[i] : 0) }

#ifdef NO_BLOCK
#define S_WRITES (s_phase != GIVEN)
#else
#define S_WRITES (s_phase == SEEDING)
#endif

#ifdef NO_RECORD_COMMITTING
#define RECORD_COMMITTING(i) skip
#else
#define RECORD_COMMITTING(i) l_record[i] = COMMITTING
#endif

#define FOR_LEECHER(i)                                                                              \
  :: d_step { l_up[i] && l_phase[i] == PULLING && q[i] == none && l_attempts[i] < 2 ->              \
              l_attempts[i]++; l_phase[i] = FINALIZING; RECORD_COMMITTING(i); no_answer(i); ask(i, finalize); check() }    \
  :: d_step { l_up[i] && l_phase[i] == FINALIZING && q[i] == none && a[i] == none ->                \
              ask(i, finalize); check() }                                                           \
  :: d_step { l_up[i] && l_phase[i] == FINALIZING && l_attempts[i] < 2 && q[i] == none ->           \
              l_phase[i] = PULLING; l_record[i] = PULLING; ask(i, abort); check() }                                        \
  :: d_step { l_up[i] && l_phase[i] == COMMITTING && q[i] == none && a[i] == none ->                \
              ask(i, commit); check() }                                                             \
  :: d_step { l_up[i] && a[i] != none -> take_answer(i); check() }                                  \
  :: d_step { l_up[i] && l_phase[i] == OWNER && value < WRITES -> value++; l_value[i] = value; check() } \
  :: d_step { s_up && q[i] != none -> receive(i, 1); check() }                                      \
  :: d_step { s_up && q[i] != none && repeats < 1 -> receive(i, 0); check() }                       \
  :: d_step { q[i] != none && losses < 1 -> no_request(i); losses++ }                                 \
  :: d_step { a[i] != none && losses < 1 -> no_answer(i); losses++ }                                 \
  :: d_step { l_up[i] && kills < KILLS -> kills++; stop_leecher(i) }                       \
  :: d_step { !l_up[i] -> start_leecher(i); check() }

init {
  d_step { s_up = 1; EACH(l_up[l] = 1) }
  do
  FOR_LEECHER(0)
  FOR_LEECHER(1)
  :: d_step { s_up && S_WRITES && value < WRITES -> value++; s_value = value; check() }
#ifndef NO_LEASE
  :: d_step { s_up && s_phase == SUSPENDED -> resume(); check() }
#endif
  :: d_step { s_up && kills < KILLS -> kills++; s_up = 0; s_phase = SEEDING; s_token = 0; s_leecher = 0 }
  :: d_step { !s_up -> start_seeder(); check() }
  :: timeout -> check_end(); break
  od
}
