/* SPDX-License-Identifier: Apache-2.0
 *
 * The rules by which a managed mount (libcommon/storage/cached.hpp) loses nothing: its cache file, its
 * epochs, and a remote that may lose what it was not told to flush. Spin tries every order of these steps,
 * a kill -9, a power loss and a restart of the server between any two of them. For each rule there is a
 * macro (-D NO_...) that drops it; tests/model/check wants a counterexample then.
 *
 * Two chunks, written whole. A value is the number of the write it comes from; 1 is what the remote held
 * at first, 0 a hole. What a variable of the cache is called with a d before it is the same on the disk;
 * the kernel copies data to the disk whenever it likes, and all of it when told to sync. Not in here:
 * parts of chunks, several regions, writers that are fenced off, requests of a dead client that arrive late.
 */
#define N 2
#define EACH(action) c = 0; do :: c < N -> action; c++ :: else -> break od; c = 0

#ifndef WRITES
#define WRITES 2
#endif

/* The cache, as a process that is killed leaves it. */
byte img[N], dimg[N];    /* the chunks */
bit pres[N], dpres[N];   /* the cache has the chunk */
bit dirty[N];            /* not durable on the remote; trusted after a kill, not after a power loss */
#ifdef NO_DISTRUST
bit ddirty[N];
#define DIRTY_ALONE(i) :: d_step { ddirty[i] != dirty[i] -> ddirty[i] = dirty[i] }
#else
#define DIRTY_ALONE(i)
#endif
bit intent, dintent;     /* some chunk may be dirty */

/* The process. */
bit started;
byte flight[N];          /* a fetched value on its way into the cache, plus one */
bit fresh[N];            /* written since the last seal */
bit sealed[N], unsent[N];
byte snap[N];            /* what a sealed chunk held at the seal */
byte phase;              /* of the epoch: 0 none, 1 being sent, 2 durable on the remote */
byte epoch_verifier;
bit saving, saved[N];    /* present bits on their way to the disk */

/* The remote. */
byte r[N], rd[N];
byte verifier;

/* What the application knows. */
byte version = 1;
byte flushed[N];         /* a flush that returned promised this, or later */

byte kills, powers, restarts, drops;
byte c;

inline check() {
  EACH(
    assert(flushed[c] <= (pres[c] -> img[c] : r[c])); /* no flushed write is lost */
    assert(!pres[c] || dirty[c] || img[c] == rd[c]);  /* what is clean is durable on the remote */
    assert(!pres[c] || img[c] > 0)                    /* no hole is taken for data */
  )
}

inline forget() { /* what dies with the process */
  started = 0; phase = 0; saving = 0;
  EACH(flight[c] = 0; fresh[c] = 0; sealed[c] = 0; unsent[c] = 0; saved[c] = 0; snap[c] = 0)
}

inline sync_data() { EACH(dimg[c] = img[c]) }

inline start() {
#ifndef NO_FLUSH_AT_START
  EACH(rd[c] = r[c]);    /* else a value is pulled that a restarted server no longer has */
#endif
  started = 1
}

inline write_chunk(i) {
  version++;
#ifndef NO_CANCEL
  flight[i] = 0;
#endif
  img[i] = version; pres[i] = 1; dirty[i] = 1; fresh[i] = 1
}

inline install(i) {
#ifdef NO_CANCEL
  img[i] = flight[i] - 1; pres[i] = 1;
#else
  if :: !pres[i] -> img[i] = flight[i] - 1; pres[i] = 1 :: else fi;
#endif
  flight[i] = 0
}

inline seal() {
  EACH(sealed[c] = dirty[c]; unsent[c] = dirty[c]; fresh[c] = 0; snap[c] = (dirty[c] -> img[c] : 0));
  epoch_verifier = verifier;
  phase = 1
}

inline send(i) {
#ifdef NO_ASIDES
  r[i] = img[i];         /* what was written after the seal goes with it */
#else
  r[i] = snap[i];
#endif
  unsent[i] = 0
}

inline flush_remote() {
#ifndef NO_REMOTE_FLUSH
  EACH(rd[c] = r[c]);
#endif
#ifdef NO_VERIFIER
  phase = 2
#else
  if
  :: epoch_verifier == verifier -> phase = 2
  :: else -> epoch_verifier = verifier; EACH(unsent[c] = sealed[c])
  fi
#endif
}

inline end_epoch() {
#ifndef NO_LOCAL_SYNC
  sync_data();           /* else older bytes come back after a power loss, and are pushed over these */
#endif
  EACH(
    if
    :: sealed[c] ->
      assert(rd[c] == snap[c]); /* the remote is what the region was at the seal */
#ifdef NO_REWRITTEN
      dirty[c] = 0;
#else
      if :: !fresh[c] -> dirty[c] = 0 :: else fi;
#endif
      flushed[c] = snap[c]
    :: else
    fi;
    sealed[c] = 0; snap[c] = 0
  );
  phase = 0
}

inline begin_saving() { /* the present bits of what is on the disk */
  sync_data();
  EACH(saved[c] = pres[c]);
  saving = 1
}

inline end_saving() {
  EACH(dpres[c] = saved[c]; saved[c] = 0);
  saving = 0
}

inline clear_intent() { intent = 0; dintent = 0 } /* what was dirty is on the disk: end_epoch() */

inline drop(i) {
  pres[i] = 0;
  saved[i] = 0;
#ifndef NO_DROP_FIRST
  dpres[i] = 0;
#endif
  img[i] = 0;
  drops++
}

inline kill_client() { kills++; forget() }

inline cut_power() {
  powers++;
  forget();
  intent = dintent;
  EACH(
    img[c] = dimg[c]; pres[c] = dpres[c];
#ifdef NO_DISTRUST
    dirty[c] = ddirty[c] && pres[c]
#else
    dirty[c] = pres[c] && intent
#endif
  )
}

inline restart_server() { restarts++; verifier++; EACH(r[c] = rd[c]) }

#ifdef NO_INTENT
#define MAY_WRITE 1
#else
#define MAY_WRITE dintent
#endif

#ifdef NO_DATA_FIRST
#define PRESENT_ALONE(i) :: d_step { dpres[i] != pres[i] -> dpres[i] = pres[i] }
#else
#define PRESENT_ALONE(i)
#endif

#define FOR_CHUNK(i)                                                                              \
  :: d_step { started && MAY_WRITE && version <= WRITES -> write_chunk(i); check() }              \
  :: d_step { started && !pres[i] && !flight[i] -> flight[i] = r[i] + 1; check() }                \
  :: d_step { flight[i] > 0 -> install(i); check() }                                              \
  :: d_step { phase == 1 && unsent[i] -> send(i); check() }                                       \
  :: d_step { started && pres[i] && !dirty[i] && !sealed[i] && drops < 1 -> drop(i); check() }    \
  :: d_step { dimg[i] != img[i] -> dimg[i] = img[i]; check() } /* the kernels, when */           \
  :: d_step { rd[i] != r[i] -> rd[i] = r[i]; check() }                                            \
  PRESENT_ALONE(i)                                                                                \
  DIRTY_ALONE(i)

init {
  d_step { EACH(r[c] = 1; rd[c] = 1; flushed[c] = 1) }
  do
  :: d_step { !started -> start(); check() }
  FOR_CHUNK(0)
  FOR_CHUNK(1)
  :: d_step { started && !intent -> intent = 1 }
  :: d_step { started && intent && !dintent -> dintent = 1 }
  :: d_step { started && phase == 0 && (dirty[0] || dirty[1]) -> seal(); check() }
  :: d_step { phase == 1 && !unsent[0] && !unsent[1] -> flush_remote(); check() }
  :: d_step { phase == 2 -> end_epoch(); check() }
  :: d_step { started && !saving -> begin_saving(); check() }
  :: d_step { saving -> end_saving(); check() }
  :: d_step { started && dintent && phase == 0 && !dirty[0] && !dirty[1] -> clear_intent(); check() }
  :: d_step { started && kills < 1 -> kill_client(); check() }
  :: d_step { started && powers < 1 -> cut_power(); check() }
  :: d_step { restarts < 1 -> restart_server(); check() }
  od
}
