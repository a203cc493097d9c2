/*
 * A small log that is whole and durable, what is true of it, and what must
 * still be true when it was harmed: it opens, all that was not hit is delivered
 * in order, what was hit is counted exactly, nothing durable is cut as a torn
 * tail, and it goes on. What is true is read from the bytes of the sound log
 * before any harm. Failures end the test that runs.
 */
#ifndef T_DAMAGE_H
#define T_DAMAGE_H

#include "t/log_dir.h"
#include "walproc/wal.h"

#include <stdbool.h>

#define SOUND_SEGMENTS 3
#define SOUND_EVENTS 200

/* How the process ended that made the log. */
enum sound_end {
	SOUND_KILLED,	/* as by kill -9, with a mark at the end */
	SOUND_CLOSED,	/* as it should be */
	SOUND_UNMARKED, /* killed; only the cursor knows of the last sync */
	SOUND_ENDS,
};

/* Where an event stands. */
struct sound_place {
	size_t file;	 /* index in the image */
	uint64_t header; /* of its batch */
	uint64_t from;	 /* of its record */
	uint64_t to;	 /* behind its record */
};

struct sound {
	struct log_dir dir;	/* where it is made, and harmed */
	struct log_image image; /* the segments, then the cursor */
	struct sound_place places[SOUND_EVENTS]; /* by sequence number */
	uint64_t first_seq;			 /* stored */
	uint64_t last_seq;
	uint64_t acked_seq;
	size_t cursor; /* its index in the image */
};

/* What was done to the log. */
struct harm {
	char what[160];		   /* for a person */
	bool is_hit[SOUND_EVENTS]; /* may be lost */
	bool is_cursor_hit;	   /* ended events may come again */
	bool is_gone;	  /* there may be no bytes left to quarantine */
	bool is_unread;	  /* bytes that hold no event may be in quarantine */
	size_t strangers; /* files that belong in quarantine */
};

/* What reading a log gave. */
struct harm_outcome {
	uint64_t first_seq; /* not ended */
	uint64_t delivered;
	uint64_t damaged;
};

/* With what the log is made and opened. */
extern const struct wal_limits sound_limits;

/* Make the directory, and remove it: not in the process of a test, which may
 * not come to its end. */
void sound_init(struct sound *sound);
void sound_fini(struct sound *sound);

/* Begins a test: empties the directory, and silences what the log says to a
 * person, which is not wanted thousands of times. */
void sound_begin(struct sound *sound);

/*
 * Makes the log: a first segment that is ended and unlinked, three that are
 * stored, the cursor within a batch of the first of them.
 */
void sound_make(struct sound *sound, enum sound_end how);

/* Ends `count` events as delivered, and saves that. */
void sound_end(struct wal *wal, uint64_t count);

/* Puts the sound log into the directory; the second with other bytes for the
 * file with that index. */
void sound_put(const struct sound *sound);
void sound_put_changed(
    const struct sound *sound, size_t file, const uint8_t *data, size_t bytes);

/* Each segment's name must be the one that its header says. */
void sound_check_names(const struct sound *sound, const char *what);

/* Begins a harm that spares all, and says what it will be. */
void harm_init(struct harm *harm, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Notes that the bytes from..to-1 of a file are not what they were. */
void harm_bytes(struct harm *harm, const struct sound *sound, size_t file,
    uint64_t from, uint64_t to);

/* Opens what is in the directory. */
void harm_open(
    const struct harm *harm, const struct sound *sound, struct wal *wal);

/*
 * Reads all that is not ended, up to `last_seq`, which must be where the log
 * ends; with `is_ending` ends it too.
 */
struct harm_outcome harm_read(const struct harm *harm,
    const struct sound *sound, struct wal *wal, uint64_t last_seq,
    bool is_ending);

/* Opens the harmed log and reads it. */
void harm_look(const struct harm *harm, const struct sound *sound);

/*
 * The same, twice; then appends to it and reads it again after a crash; ends
 * all of it, closes it, and finds it empty.
 */
void harm_check(const struct harm *harm, const struct sound *sound);

#endif
