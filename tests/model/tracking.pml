/* SPDX-License-Identifier: Apache-2.0
 *
 * How a block that is written all the time gets across (r3-protocol(7), MIGRATION): the seeder's map of
 * blocks written, READs on their way, rounds whose answers are lost and asked for again, and the last
 * round, with the writers blocked. In the end the leecher sees what was written last. For each rule there
 * is a macro (-D NO_...) that drops it; tests/model/check wants a counterexample then. One block is enough:
 * no rule speaks of two.
 */
#ifndef WRITES
#define WRITES 3
#endif
#define ROUNDS 3

/* The seeder. */
byte s_value;            /* what the block holds: the number of a write */
byte writing;            /* a write under way: its number */
bit dirty;               /* written since the last round */
bit kept;                /* the answer of the round last asked for, until the next one is */
byte s_round;
bit tracked, blocked;

/* The leecher. */
bit present;             /* the block was pulled */
byte l_value;
byte flight;             /* an answer to READ on its way: the value plus one */
byte l_round;            /* whose answer has arrived */
bit final, open;

/* The answer to a round, on its way. */
bit answer, answer_dirty;
byte answer_round;

byte version;            /* the number of the last write that was acknowledged */
byte losses;

inline take_round() {    /* the leecher asks for the round after the last that arrived */
  if
#ifndef NO_KEEP_ROUND
  :: s_round > l_round -> kept = kept || dirty   /* that answer was lost: the same again, and more */
#endif
  :: else -> kept = dirty
  fi;
  dirty = 0; s_round = l_round + 1;
  answer = 1; answer_dirty = kept; answer_round = s_round
}

#ifdef NO_WAIT_FLIGHTS
#define MAY_APPLY 1
#else
#define MAY_APPLY (flight == 0)
#endif
#ifdef NO_WAIT_WRITES
#define MAY_BLOCK 1
#else
#define MAY_BLOCK (writing == 0)
#endif
#ifdef NO_TRACK_FIRST
#define MAY_READ 1
#else
#define MAY_READ tracked
#endif

init {
  do
  :: d_step { writing == 0 && !blocked && version < WRITES ->
              writing = version + 1;
#ifdef NO_MARK_LAST
              dirty = tracked
#else
              s_value = writing
#endif
     }
  :: d_step { writing > 0 ->
#ifdef NO_MARK_LAST
              s_value = writing;
#else
              dirty = dirty || tracked;
#endif
              version = writing; writing = 0 }
  :: d_step { !tracked -> tracked = 1 }
  :: d_step { MAY_READ && !present && flight == 0 && !open -> flight = s_value + 1 }
  :: d_step { flight > 0 -> l_value = flight - 1; present = 1; flight = 0 }
  :: d_step { tracked && !answer && l_round < ROUNDS && !final -> take_round() }
  :: d_step { tracked && !answer && !final && MAY_BLOCK -> 
              blocked = 1; final = 1; take_round() }
  :: d_step { final && !open && !answer -> take_round() }
  :: d_step { answer && losses < 1 -> answer = 0; losses++ }
  :: d_step { answer && MAY_APPLY ->
              if :: answer_dirty -> present = 0 :: else fi;
              l_round = answer_round; answer = 0;
              open = final }
  :: open && flight == 0 -> assert((present -> l_value : s_value) == version); break
  od
}
