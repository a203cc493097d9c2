/*
 * A reader for tests, at the first event of a log that is not ended, as the
 * only sink of a log that has just been started has it.
 */
#ifndef T_REWIND_H
#define T_REWIND_H

#include "walproc/wal.h"

/* Stands the reader there, and counts the bytes stored anew from that event's
 * batch on. Returns 0, or -1 with errno set. */
int rewind_reader(struct wal *wal, struct reader *reader);

#endif
