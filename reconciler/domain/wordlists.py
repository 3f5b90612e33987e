"""Word patterns for softening: what picture services are known to refuse, or may take for it."""

import re

NAMES = r"""
ac/dc|adele|andy warhol|ariana grande|artgerm|avengers|banksy|barbie|batman|beatles|beeple|beyonc[eé]|billie eilish
|björk|blackpink|blade runner|bob dylan|bob marley|britney spears|bruce lee|bts|caravaggio|charlie chaplin|coca[- ]?cola
|coldplay|cyberpunk 2077|daft punk|dal[ií]|david bowie|disney|donald trump|drake|dua lipa|ed sheeran|elon musk
|elvis( presley)?|eminem|fortnite|freddie mercury|frida( kahlo)?|game of thrones|ghibli|giger|godzilla|greg rutkowski
|gta( [v5])?|gucci|harry potter|harry styles|hayao miyazaki|hello kitty|hogwarts|iron man|jimi hendrix|john lennon
|joe biden|joker|justin bieber|kanye( west)?|kendrick lamar|kim kardashian|klimt|kurt cobain|lady gaga|lego
|lord of the rings|louis vuitton|madonna|mario kart|marilyn monroe|marvel|matisse|metallica|michael jackson
|mickey mouse|minecraft|miyazaki|monet|moebius|mona lisa|mozart|naruto|netflix|nike|nintendo|nirvana|pablo picasso
|peppa pig|picasso|pikachu|pink floyd|pixar|playboy|playstation|pok[eé]mon|prada|queen elizabeth|quentin tarantino
|radiohead|rammstein|rihanna|salvador dal[ií]|shakira|shrek|simon st[åa]lenhag|simpsons|snoop dogg|sony|spider-?man
|spongebob|star trek|star wars|starbucks|stranger things|studio ghibli|super mario|superman|taylor swift|tesla
|the beatles|the simpsons|the weeknd|thomas kinkade|tim burton|totoro|travis scott|tupac|vincent van gogh|van gogh
|vladimir putin|warner bros|wes anderson|winnie the pooh|xbox|zdzis[lł]aw beksi[nń]ski|zelda
|дисне\w*|гарри поттер\w*|ван гог\w*
"""
"""People, characters and brands, in whatever case."""

HARSH = r"""
murder\w*|kill(s|ed|er|ers|ing|ings)?|slay\w*|slaughter\w*|massacre\w*|suicid\w*|corpses?|cadavers?|dead bod(y|ies)
|behead\w*|decapitat\w*|dismember\w*|tortur\w*|gor(e|y)|blood(y|ied|shed|stained|thirsty|-?soaked)?|bleed(s|ing)?
|stab(s|bed|bing)?|strangl\w*|execut(ed|ion|ions|ioner)|guns?|gunshots?|gunfire|rifles?|pistols?|revolvers?|shotguns?
|machetes?|grenades?|bomb(s|ed|ing|ings)?|weapons?|terroris\w*|genocid\w*|hitler|nazis?|swastikas?|isis|self[- ]harm
|violen(t|ce|tly)|nud(e|es|ity)|naked|nsfw|porn\w*|sex|sexy|sexual\w*|erotic\w*|lingerie|topless|boobs?|breasts?
|nipples?|genitals?|orgy|orgies|orgasm\w*|fetish\w*|bondage|bdsm|seductive\w*|sensual\w*|lust(ful)?
|strip(per|pers|tease)|prostitut\w*|hookers?|whores?|schoolgirls?|lolita|hentai|cocaine|heroin|meth|marijuana|cannabis
|weed|ecstasy|mdma|lsd|opium|fentanyl|drugs?|drugged|junk(ie|y|ies)|syringes?|bongs?|drunk(en)?|fuck\w*|shit\w*
|bitch(es)?|cunts?
|mord|mörder\w*|leichen?|blut(ig\w*|end\w*|überströmt\w*)?|waffen?|pistolen?|gewehre?|nackt\w*|drogen|kokain|gewalt
|sangre|sangrient[oa]s?|asesin\w*|muert[oa]s?|cad[aá]ver(es)?|pistolas?|desnud[oa]s?|drogas?|coca[ií]na|suicidio
|sanglante?s?|ensanglant\w*|meurtr\w*|cadavres?|pistolets?|nue?s?|drogues?|coca[ïi]ne
|sangue|assassin\w*|nud[oaie]|nuas?
|кров(ь|и|ью)|кровав\w*|убий\w*|труп\w*|оружи\w*|обнаж[её]н\w*|наркотик\w*
"""
"""Violence, sex and drugs. `shot` and `explosion` stay: they are pictures' words."""

UNSPACED = r"""
吉卜力|宫崎骏|宮崎駿|ジブリ|迪士尼|ディズニー|任天堂|ポケモン|ピカチュウ|漫威|初音ミク|周杰伦|디즈니|지브리|방탄소년단|ديزني
|血腥|鲜血|裸体|裸體|杀人|殺人|尸体|死体|手枪|毒品|自杀|色情|血まみれ|全裸|拳銃|麻薬|자살|누드|마약|살인
"""
"""Both, in scripts that set no spaces around words."""

LINKS = r"""
a|an|the|of|in|at|on|by|with|from|for|to|near|like|and|or|as|feat|ft|featuring|starring|holding|wearing|called|named
|titled|over|under|above|below|behind|through|across|into|onto|against|during|after|before|until|while|full of
|der|die|das|den|dem|des|ein|eine|einen|einem|einer|von|vom|mit|bei|im|am|für|und|namens|vor|hinter|über|unter|nach|aus
|auf|el|la|los|las|un|una|de|del|al|con|por|en|para|y|e|sobre|bajo|entre|le|les|une|du|avec|par|dans|et|pour|sous|sur
|il|lo|gli|uno|di|da|della|dal|nel|nella|sul|sulla|do|dos|em|na|no|ao|com|um|uma|à|и|с|в|на|от|над|под
"""
"""Words that want another one behind them."""

STYLES = r"""
in the (?:styles?|manner|spirit|vein|likeness) of|(?:painted|drawn|photographed|directed|composed|designed) by
|(?:inspired|influenced) by|reminiscent of
|im stile? von|nach art von|inspiriert von|al estilo de|inspirad[oa] (?:en|por)
|dans le style (?:de|du)|inspirée? (?:de|par)|nello stile di|ispirat[oa] (?:a|da)|no estilo de|ao estilo de|в стиле
|w stylu
"""

PLAIN_CAPITALS = frozenset(
    re.split(
        r"\s+",
        """
        abstract african air album ambient american angel anime april arabian arctic art artwork asian aspect
        atmosphere august aurora austrian autumn aztec background baroque bauhaus black blue bohemian borealis
        boy brazilian bright brutalist buddhist camera caribbean catholic celtic child children chinese
        christian christmas cinematic city close close-up color colors colour colours composition cover cuban
        cubist danish dark dawn day december deco deep detail detailed digital dragon dream dreams dreamy dusk
        dutch earth east easter eastern edwardian egyptian english ethereal european expressionist february
        figure finnish fire flower flowers foreground forest french friday futurist garden german girl god
        goddess golden gothic gouache greek green halloween high hindu house i impressionist inca indian ink
        irish islamic italian january japanese jazz jewish july june king korean lake landscape latin lettering
        light lighting lights lo-fi lofi logo logos lone lonely man march mars mayan medieval mediterranean men
        mexican middle milky minimal minimalist monday mongolian mood moody moon mountain mountains music
        mystical neon night no nordic north northern norwegian nouveau november ocean october oil old orthodox
        painting palette people persian person photo photograph pink polish pop portrait purple quality queen
        rain rainy ratio red renaissance render retro river road rock roman room russian samurai saturday
        scandinavian scene sea september shot silhouette sketch sky snow soft south southern space spanish
        spirit spring street streets style subject summer sun sunday sunset surreal surrealist swedish swiss
        synthwave techno text thursday tibetan train tuesday turkish ukrainian ultra vibe vibrant victorian view
        viking vintage visual warm water watercolor watercolour watermark way wednesday west western white wide
        wind winter woman women word words yellow young
        """.strip(),
    )
)
"""No names, though they are often written with a capital."""
