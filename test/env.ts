/** Yours: settings that the service needs in every test, such as a required one of its own. */
export const OWN: NodeJS.ProcessEnv = {}
