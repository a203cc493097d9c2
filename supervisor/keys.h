/*
 * The keys that a configuration may hold: one table for each kind of map, with
 * type, unit, range, default, and the option of a stage's command that carries
 * the value. It drives both the checking of a file (keys_read) and the
 * building of a command (command.h); pipeline.yaml(5) says the same in prose.
 *
 * It checks one map at a time and knows nothing of how maps relate.
 */
#ifndef SUPERVISOR_KEYS_H
#define SUPERVISOR_KEYS_H

#include "supervisor/tree.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The longest id or instance. */
#define KEYS_NAME_BYTES 64

/* The value of one key, as it was given or by default. */
struct value {
	bool is_given;
	struct place place; /* where it stands; if not given, its map */
	uint64_t number;    /* COUNT; SECONDS in ms; BOOL 0 or 1 */
	char *text;	    /* owned; the types that are text, else NULL */
};

enum key_type {
	KEY_NAME,    /* letters, digits, _ . -: becomes a directory's name */
	KEY_TOKEN,   /* a subprotocol: a token of RFC 9110 */
	KEY_ACCOUNT, /* name or number of a user or a group */
	KEY_FILE,    /* path, relative to the file it stands in */
	KEY_URL,     /* ws:// or wss://, without user and password */
	KEY_PROXY,   /* text without user and password */
	KEY_SECRET,  /* text in which the secret is a ${env:NAME} */
	KEY_WORD,    /* one of `words` */
	KEY_SYNC,    /* always, never, or interval: with milliseconds */
	KEY_COUNT,   /* whole number */
	KEY_SECONDS, /* decimal number; kept and bounded in ms */
	KEY_BOOL,
	KEY_LIST, /* a list that the caller reads */
	KEY_MAP,  /* a map that the caller reads */
};

struct key {
	const char *name;
	enum key_type type;
	bool is_required;
	bool is_private;	   /* faults do not repeat what is given */
	const char *unit;	   /* COUNT: what is counted, or NULL */
	uint64_t min, max;	   /* COUNT, SECONDS (ms) */
	uint64_t fallback;	   /* COUNT, SECONDS (ms), BOOL */
	const char *const *words;  /* WORD: each it may be, then NULL */
	const char *fallback_text; /* WORD; NULL: none */
	const char *instead;	   /* SECRET: the key that names a file */
	const char *option;	   /* NULL: none carries it */
	bool is_always_shown;	   /* the option stands even by default */
	size_t offset;		   /* of its struct value; LIST, MAP: none */
};

/* The kinds of map. */
enum key_set {
	KEYS_ROOT,
	KEYS_ONRAMP,
	KEYS_METRONOME,
	KEYS_EXEC,
	KEYS_STDIN,
	KEYS_PIPELINE,
	KEYS_WAL,
	KEYS_OFFRAMP,
	KEYS_WS,
	KEYS_BINDING,
	KEYS_MAPPING,
	KEYS_SETS,
};

/* Returns the table of a kind, which ends with a key that has no name. */
const struct key *keys_of(enum key_set set);

/*
 * Reads `map` by the table of `set` into the struct at `out`, whose values are
 * zeroed or were read from another file. `base` is the directory that relative
 * paths start from. Each key that is unknown, missing, of the wrong type, out
 * of range or given before is a fault; values left out get their default.
 * Returns true if no fault was added.
 */
bool keys_read(enum key_set set, const struct tree_node *map, const char *base,
    void *out, struct faults *faults);

/* Frees the texts of the values that keys_read put at `out`. */
void keys_fini(enum key_set set, void *out);

/* Returns the value of `key` in the struct at `in`. */
const struct value *keys_value(const struct key *key, const void *in);

/*
 * Says whether `text` can name a directory: 1 to KEYS_NAME_BYTES letters,
 * digits, "_", "." and "-", and no "." in front.
 */
bool keys_is_name(const char *text, size_t bytes);

#endif
