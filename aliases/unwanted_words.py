"""Words that no address gets: what nobody wants to read out on the telephone, or to see beside a shop's name.

Of the EFF's long list, which was read through for it. tests/aliases/test_naming.py compares what is left with
a published block list.
"""

UNWANTED = frozenset(
    word
    for words in (
        # Bodies and sex.
        "affair arousal bloomers bodacious boned bootie breeder breeding bulge bust cathouse caress "
        "celibacy celibate chaste chastity corset curvy deviancy deviant engorge explicit facial fetal "
        "flaccid fondling fondly frigidity frigidly gonad grinning groin grope hardcore humpback humped "
        "husked immodest impotence impotency impotent jockstrap john knickers leotard licking limping "
        "limpness lubricant lubricate lustfully lustily lustiness lusty mammary manhood mating moaner "
        "moaning naturist negligee ogle ovary pantyhose pelvis petticoat playmate pregnancy pregnant "
        "procreate prude prudishly pucker ravishing rubbing rubdown sagging saggy seduce seducing "
        "sensually sensuous skimpily squirt sultry swinger thong throbbing unclad unclothed undress "
        "unisexual unwomanly urologist urology vaseline womanhood womb yanking",
        # Insults.
        "badass bonehead brownnose brute brutishly buffoon bully chubby crazed crazily craziness crazy "
        "dingbat ditzy dork douche dude dwarf dweeb egomaniac fool geek goofball goon hunchback idiocy "
        "imbecile jeeringly lunacy mongrel moocher nerd nutcase nuttiness nutty obnoxious prissy punk "
        "scoundrel scrawny scrubber skinhead slacker slobbery snitch spinster stooge tattle tattling "
        "tightwad tubby twerp vixen wad whiny wimp",
        # Illness and the body's needs.
        "anemia anemic aneurism autism autistic cataract catatonic cesarean cesspool chemo coma commode "
        "contusion coronary deafness delirious delirium delouse delusion depress diabetes diabetic "
        "diaper dyslexia dyslexic embolism epidemic epilepsy epileptic excretion excretory fester "
        "gallstone gangrene geriatric glaucoma gout jaundice latrine laxative lisp maggot maimed mangle "
        "mangy mumps mutilated mutilator neurosis neurotic pandemic paralyses paralysis paralyze "
        "parasite parasitic phobia polio pyromania rabid rectal relapse relapsing scabbed scabby scurvy "
        "sedate sedation sedative septic squeamish stench sterile sterility stinking stinky swooned "
        "upchuck",
        # Drugs.
        "boozy cannabis freebase junkie morphine opium prozac rehab ritalin snuff valium",
        # Death and violence.
        "agonize agonizing anguished arson atrocious backstab battered battering bazooka bullwhip "
        "carnage casket casualty catacomb chokehold choking coroner cruelly cruelness cruelty deceased "
        "decompose demise departed deport despair detonate detonator disfigure enslave entomb exhume "
        "famine famished flogging gallows gore gory graveness graves graveyard handgun hate hatred "
        "headstone impale landmine lurk marauding mortality mortally mortician mortified mortify "
        "mortuary mourner mournful obituary onslaught oppressed oppressor overkill perish poison "
        "predator prowler prowling ransack reburial rupture savage scalping shrapnel slain slapping "
        "slit smother starved starving strangle sufferer suffering suffocate undead venomous violate "
        "violation violator widow wrath wreckage wrecker wrecking zombie",
        # Crime, and what misleads in an address.
        "account bogus bribe cheating crook culprit deceit deceiver deceiving deception deceptive "
        "defraud embezzle extortion hacked hacker hacking helpline hypocrisy hypocrite jackpot launder "
        "lying passcode password payment payroll perjurer perjury phoney phoniness phony police refund "
        "robbing scam smuggler smuggling spoof theft thieving thievish traitor treachery treason "
        "urgency urgent verify virus winner winnings",
        # Faith, origin and politics.
        "agnostic apostle blaspheme blasphemy buddhism buddhist caucasian coerce colonial colonist "
        "colonize creole crusader democrat diabolic dictator divorcee eskimo evil exorcism exorcist "
        "fascism gender islamic islamist kosher marxism nappy occultist pagan passover pope preteen "
        "purgatory racing racism sabbath siamese sinless sinner slum supremacy tribesman trump "
        "unblessed underage ungodly unholy unwed vagrancy vagrantly yiddish",
        # Contempt.
        "ashamed curse cussed darn defame degraded degrading demeaning demeanor despise detest "
        "dirtiness disgrace expletive filth gag gigolo grunge hazing humiliate immorally nag nastily "
        "nastiness pasty pauper profane profanity rancidity repugnant repulsion repulsive rotten "
        "rotting shame sinister slander sludge spew spookily spooky swear swore taunt uncouth unwashed "
        "uselessly vengeful worst",
        # What a published block list has besides.
        "bok chug mama thud trio",
    )
    for word in words.split()
)
