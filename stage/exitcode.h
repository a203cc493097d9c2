/*
 * Exit statuses: the contract between the programs, the supervisor and the
 * user's scripts. Nothing else is returned.
 */
#ifndef STAGE_EXITCODE_H
#define STAGE_EXITCODE_H

enum exitcode {
	EXITCODE_DONE = 0,    /* finished; all that was promised is done */
	EXITCODE_DAMAGE = 1,  /* of tools that look: they found damage */
	EXITCODE_FINAL = 100, /* do not restart: usage, configuration, or a
			       * format from the future */
	EXITCODE_AGAIN = 111, /* restart with backoff: I/O error, lost peer */
};

#endif
