/*
 * The configuration: files -> tree -> checked struct. What comes out can be
 * run as it is; whatever a file asks for that is unknown, wrong or not built
 * yet is a fault with its place, and nothing is ever ignored.
 *
 * Pure: bytes in, struct out. Opening files is config_files.h, what binding
 * and mapping mean is binding.h.
 */
#ifndef SUPERVISOR_CONFIG_H
#define SUPERVISOR_CONFIG_H

#include "supervisor/faults.h"
#include "supervisor/header_list.h"
#include "supervisor/keys.h"
#include "supervisor/patch_list.h"
#include "supervisor/tree.h"
#include "supervisor/word_list.h"

#include <stddef.h>
#include <stdint.h>

/* The types of onramps. */
enum config_source {
	CONFIG_METRONOME,
	CONFIG_EXEC,
	CONFIG_STDIN,
	CONFIG_SOURCES,
};

/* When the source of an instance is started again after its end. */
enum config_restart {
	CONFIG_ALWAYS,
	CONFIG_ON_FAILURE,
	CONFIG_NEVER,
	CONFIG_RESTARTS,
};

struct config_onramp {
	struct value id, type;
	struct value interval, count, size; /* metronome */
	struct value restart;		    /* exec */
	struct word_list command;	    /* exec */
};

struct config_pipeline {
	struct value id;
	bool is_query; /* its id is the name of its file */
	struct value read_count, max_elements, max_bytes, on_full, sync,
	    max_age, segment_bytes, max_event_bytes;
	struct patch_list patch; /* insert, then upsert, then patch */
};

struct config_offramp {
	struct value id, type;
	struct value url, ack, binary, ping_interval, ping_timeout,
	    connect_timeout, backoff_max, header_file, basic_auth,
	    basic_auth_file, bearer_auth, bearer_auth_file, cacert, cert, key,
	    insecure, protocol, proxy, proxy_auth, proxy_auth_file,
	    on_connect_replay, rate;
	struct header_list headers;
};

/* Onramps that one binding may link, at most; offramps likewise. */
#define CONFIG_MAX_LINKED 32

/* What is linked is borrowed, in the order in which the links name it; nothing
 * is until the binding is resolved. */
struct config_binding {
	struct value id;
	const struct tree_node *links;	/* borrowed from the file's tree */
	struct config_onramp **onramps; /* the array is owned */
	size_t onramp_count;
	struct config_pipeline *pipeline;
	struct config_offramp **offramps; /* the array is owned */
	size_t offramp_count;
};

/* What runs: what an entry of the mapping comes to. */
struct config_instance {
	struct value instance;
	const struct tree_node *entry; /* borrowed; NULL: no mapping given */
	const struct config_binding *binding; /* borrowed */
};

/* One file that was read: what places and links borrow from. */
struct config_file {
	char *name;		/* owned */
	char *base;		/* owned; where relative paths start */
	struct tree_node *root; /* owned; NULL: it could not be parsed */
};

/* The top of a file; the same for all files together. */
struct config {
	struct value state_dir, shutdown_timeout, sandbox;
	struct value user, group;	/* see identity.h */
	struct config_onramp **onramps; /* owned, as all of these */
	size_t onramp_count;
	struct config_pipeline **pipelines;
	size_t pipeline_count;
	struct config_offramp **offramps;
	size_t offramp_count;
	struct config_binding **bindings;
	size_t binding_count;
	struct config_instance **instances;
	size_t instance_count;
	struct config_file **files;
	size_t file_count;
};

/* Makes an empty configuration. */
void config_init(struct config *config);

/* Frees all of it. Places in faults borrow nothing that outlives it. */
void config_fini(struct config *config);

/*
 * Adds one file's bytes. `name` stands in places; `base` is the directory that
 * relative paths in it start from. What is wrong in it is added to `faults`.
 */
void config_add(struct config *config, const char *name, const char *base,
    const uint8_t *in, size_t in_bytes, struct faults *faults);

/*
 * The same for a file with a query, which is the pipeline `id`: see trickle.h.
 */
void config_add_query(struct config *config, const char *name, const char *base,
    const char *id, const uint8_t *in, size_t in_bytes, struct faults *faults);

/* Returns the type of an onramp of a configuration without faults. */
enum config_source config_source_of(const struct config_onramp *onramp);

/*
 * Returns when a source is started again: for exec as it is given; a metronome
 * with a count, and standard input, have an end that is not a failure, a
 * metronome without one has not.
 */
enum config_restart config_restart_of(const struct config_onramp *onramp);

/* Returns the word for `restart` that a configuration has. */
const char *config_restart_name(enum config_restart restart);

/*
 * After the last file, and only if there were no faults: resolves bindings and
 * mappings into instances, and checks what no single map shows. What is wrong
 * is added to `faults`, what is defined and never runs to `notes`. At least
 * one file was added. If there are still no faults, there is an instance.
 */
void config_finish(
    struct config *config, struct faults *faults, struct faults *notes);

#endif
