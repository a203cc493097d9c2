/*
 * The links of a binding: which onramps feed its pipeline, and which offramps
 * that feeds.
 */
#ifndef SUPERVISOR_LINKS_H
#define SUPERVISOR_LINKS_H

#include "supervisor/config.h"
#include "supervisor/faults.h"

/*
 * Resolves the links of one binding of `config`. What is wrong is added to
 * `faults`; if that is nothing, the binding has a pipeline, 1 to
 * CONFIG_MAX_LINKED onramps and as many offramps.
 */
void links_resolve(struct config *config, struct config_binding *binding,
    struct faults *faults);

#endif
