/** The ID of a run, as it stands in addresses and is pasted. */
export const RUN_ID = /^run_[0-9a-f-]{32,36}$/i
