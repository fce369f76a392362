import { type CommonOptions, confirm, intro, isCancel, multiselect, text } from '@clack/prompts'
import { features } from './features.ts'
import { type Choices, descriptionProblem, FAULTS, optional } from './render.ts'

export type Answers = Omit<Choices, 'source' | 'commit'>

export interface AskOptions extends Pick<CommonOptions, 'input' | 'output'> {
  /** What is wrong with a name. */
  problemOf: (name: string) => string | undefined
  /** The description of a service that nobody describes. */
  description: string
}

/** Asks for what is not given yet; undefined when it is broken off. */
export async function ask(
  given: { [Key in keyof Answers]?: Answers[Key] | undefined },
  { problemOf, description, ...io }: AskOptions,
): Promise<Answers | undefined> {
  intro('A service from the skeleton', io)
  const name =
    given.name ??
    (await text({ message: 'Its name?', placeholder: 'orders', validate: (it = '') => problemOf(it), ...io }))
  if (isCancel(name)) return undefined
  const validate = (it: string | undefined) => (it ? descriptionProblem(it) : undefined)
  const says =
    given.description ??
    (await text({
      message: 'What does it do, in one line?',
      placeholder: description,
      defaultValue: description,
      validate,
      ...io,
    }))
  if (isCancel(says)) return undefined
  const kept = given.features ?? (await chosenFeatures(io))
  if (isCancel(kept)) return undefined
  const faults = given.faults ?? (await confirm({ message: `Keep ${features[FAULTS]?.description}?`, ...io }))
  if (isCancel(faults)) return undefined
  return { name, description: says, features: kept, faults }
}

function chosenFeatures(io: Pick<CommonOptions, 'input' | 'output'>) {
  return multiselect({
    message: 'Which optional features does it keep? (space: one, a: all, enter: go on)',
    options: optional.map((value) => ({ value, hint: features[value]?.description ?? '' })),
    initialValues: optional,
    required: false,
    ...io,
  })
}
