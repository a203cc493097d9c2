/*
 * A disk that may lose its power, and fail, under the log of a test: the
 * linker's --wrap lays it over pwrite, fdatasync, unlinkat and renameat (link
 * with all four). It knows what was written and not synced since, so that
 * power_cut can take back any sectors of that, as a power cut may: also long
 * after the process that wrote them is gone, and also after a sync that failed.
 * Names and lengths of files are durable at once here.
 */
#ifndef T_POWER_H
#define T_POWER_H

#include "t/log_dir.h"

#include <stdbool.h>
#include <stdint.h>

enum power_call {
	POWER_NO_CALL,
	POWER_WRITE,
	POWER_SYNC,
};

/* What fails next. */
struct power_fault {
	enum power_call call;
	unsigned int in; /* the n-th such call from now on, 1 is the next */
	bool is_lasting; /* and all after it */
	int error;	 /* errno */
	bool is_short;	 /* about half of what is written arrives,
			  * in whole sectors */
};

extern struct power_fault power_fault;

/* How many calls were made to fail so far. */
extern unsigned int power_strikes;

/* Forgets all writes, of files that are gone, and the fault. */
void power_reset(void);

enum power_cut {
	POWER_CUT_ALL_LOST,
	POWER_CUT_ALL_KEPT,
	POWER_CUT_MIXED, /* each sector for itself, by chance */
};

/*
 * Makes the files in `dir` what a disk may have after a power cut; `random`
 * chooses. No process has them open.
 */
void power_cut(const struct log_dir *dir, enum power_cut how, uint64_t random);

#endif
