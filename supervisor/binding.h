/*
 * What `binding` and `mapping` mean: what feeds what (links.h), and which
 * binding runs as which instance. It reads no file and no value; keys.h and
 * tree.h did.
 *
 * A binding has one pipeline, any number of onramps that feed it, and any
 * number of offramps that it feeds. Pipelines behind each other are refused as
 * not built yet.
 */
#ifndef SUPERVISOR_BINDING_H
#define SUPERVISOR_BINDING_H

#include "supervisor/config.h"
#include "supervisor/faults.h"

/* The id of the binding that stands in for none. */
#define BINDING_DEFAULT_ID "default"
/* The instance that runs where there is no mapping. */
#define BINDING_DEFAULT_INSTANCE "01"

/*
 * Resolves the links of each binding and the binding of each instance. Where
 * they were left out and each list has one entry, it adds them. What is wrong
 * is added to `faults`; what is defined and never runs, or is linked under
 * another name (adopt.h), to `notes`. Without faults each instance has a
 * binding with a pipeline, 1 to CONFIG_MAX_LINKED onramps and as many offramps,
 * and no two share a directory.
 */
void binding_resolve(
    struct config *config, struct faults *faults, struct faults *notes);

#endif
