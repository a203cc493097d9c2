/*
 * A pipeline that is linked under another name. A query's pipeline has the name
 * of its file, and links may say another: where there is one pipeline and one
 * name in all links, it is clear which is meant. Where the pipeline itself has
 * an id, that has been chosen, and a link to another is a slip: its log would
 * be left behind.
 */
#ifndef SUPERVISOR_ADOPT_H
#define SUPERVISOR_ADOPT_H

#include "supervisor/config.h"
#include "supervisor/faults.h"

/*
 * Gives the only pipeline, if it is a query, the only name that links have for
 * one, if that is another, and adds that to `notes`; in any other case nothing
 * changes. Links that have not their form are passed over.
 */
void adopt_pipeline(struct config *config, struct faults *notes);

#endif
